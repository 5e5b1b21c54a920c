"""Scratch notes with a time to live, and what modules tell of themselves."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    # Keys are compared byte by byte, so that a beginning is found in the index whatever the database's language.
    """
    CREATE TABLE cc.scratch_note (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        key text COLLATE "C" NOT NULL UNIQUE,
        content text,
        ttl_days integer,
        created_at timestamptz NOT NULL,
        expires_at timestamptz
    )
    """,
    "CREATE INDEX scratch_note_expiry ON cc.scratch_note (expires_at)",
    # What each module last told of itself; one row a module, written over.
    """
    CREATE TABLE cc.health (
        module text PRIMARY KEY,
        id uuid NOT NULL,
        status text NOT NULL,
        details json,
        last_updated timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: what was kept there would be lost."""
    raise RuntimeError("revision 0004 cannot be undone")
