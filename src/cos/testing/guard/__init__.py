"""The guard: a process of its own that makes faults and ends them, whatever happens to the tests that asked.

    pytest ── socket ──► guard ──► signals, limits, the Docker engine, a Redis
                           └─────► journal (synced before each fault; healed by the next guard if this one dies)

Everything here loads in a few milliseconds and needs the standard library alone.
"""
