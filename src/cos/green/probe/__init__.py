"""Code that runs inside the project's own interpreter: standard library and pytest alone."""
