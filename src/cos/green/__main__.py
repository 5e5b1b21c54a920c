"""Runs `cos green` without the rest of COS: `python -m cos.green`."""

from cos.green.command import main

main()
