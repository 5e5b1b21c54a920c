"""What COS remembers: L1, the durable log, and L1.5, the event highway that announces it."""
