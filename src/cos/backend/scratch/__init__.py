"""Scratch notes: small texts under a key, which go away by themselves."""
