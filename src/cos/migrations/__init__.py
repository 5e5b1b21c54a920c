"""The database's history, as alembic revisions, and the one way to apply it."""
