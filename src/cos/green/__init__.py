"""From any failing test suite to all green: causes, missions in waves, proof; it imports nothing of COS but its errors."""
