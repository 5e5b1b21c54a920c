"""COS, the Creative Operating System: what happens in an author's work, recorded once, announced once."""

from typing import Any

__version__: str


def __getattr__(name: str) -> Any:
    # Asked for when needed: to read what is installed takes longer than many a command.
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  (as above)

        found = globals()["__version__"] = version("cos")
        return found
    raise AttributeError(name)
