"""The command line: each command is a few lines into what does the work."""
