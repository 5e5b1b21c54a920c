"""Webhooks: endpoints that get events by HTTP POST, each in the order of the log."""
