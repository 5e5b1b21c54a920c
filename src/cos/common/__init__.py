"""Mechanism that has never heard of a book: time, ids, commits, loops, envelopes."""
