"""Tokens and sign-in: made, listed and revoked, each change an event."""
