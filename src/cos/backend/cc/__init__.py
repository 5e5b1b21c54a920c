"""The control centre: modules, measured health, the debug log."""
