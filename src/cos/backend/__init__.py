"""The HTTP API: one folder a feature, the same files in each."""
