"""Python's search for rubbish, as it suits a process that serves."""

from __future__ import annotations

import gc

#: How many containers more make a look for rubbish due, and how many such looks a deeper one. Python's own numbers suit
#: a short script: with a thousand readers of the live feed they took a third of the time.
_SERVING = (10_000, 20, 50)


def settle() -> None:
    """Leave all that is there out of every later search: call it once, when everything is built.

    What was loaded and built is never rubbish, and to look through it takes a tenth of a second, in which nobody is
    served.
    """
    gc.freeze()
    gc.set_threshold(*_SERVING)
