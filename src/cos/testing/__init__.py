"""A pytest plugin: real services in milliseconds, faults that always heal, and checks for loops, commits and speed."""
