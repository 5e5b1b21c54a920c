"""The proxy: a process of its own that stands between the tests and a server, and makes the way between them bad.

A process, so that the tests' own work does not slow it down, nor it theirs. It needs the standard library alone and
uses uvloop where it finds it.
"""
