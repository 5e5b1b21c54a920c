"""Tokens and the sessions of the page."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    # Of the secret only its SHA-256 is kept: it is 256 random bits, which nobody finds by guessing.
    """
    CREATE TABLE cc.token (
        id text PRIMARY KEY,
        name text NOT NULL,
        scope text NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
        hash bytea NOT NULL,
        created_at timestamptz NOT NULL,
        created_by text NOT NULL,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "CREATE UNIQUE INDEX token_name ON cc.token (name) WHERE revoked_at IS NULL",
    # A session lives no longer than the token that it was opened with.
    """
    CREATE TABLE cc.session (
        id text PRIMARY KEY,
        token_id text NOT NULL REFERENCES cc.token (id) ON DELETE CASCADE,
        hash bytea NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX ix_cc_session_token_id ON cc.session (token_id)",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: what was kept there would be lost."""
    raise RuntimeError("revision 0005 cannot be undone")
