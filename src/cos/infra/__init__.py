"""Real Postgres and Redis as supervised child processes: no container, no root, no TCP port."""
