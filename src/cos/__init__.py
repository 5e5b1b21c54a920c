"""COS, the Creative Operating System: what happens in an author's work, recorded once, announced once."""

from importlib.metadata import version

__version__ = version("cos")
