"""Dead letters, consumer groups and projections."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    "CREATE SCHEMA highway",
    # A group begins after this position of this generation, and at the beginning of every later one.
    """
    CREATE TABLE highway.consumer_group (
        name text PRIMARY KEY,
        generation integer NOT NULL,
        xact xid8 NOT NULL,
        seq bigint NOT NULL,
        definition json NOT NULL,
        created_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL
    )
    """,
    # Up to where everything is done: where a group goes on when Redis has forgotten it.
    """
    CREATE TABLE highway.group_position (
        group_name text NOT NULL,
        generation integer NOT NULL,
        module text NOT NULL,
        xact xid8 NOT NULL,
        seq bigint NOT NULL,
        moved_at timestamptz NOT NULL,
        PRIMARY KEY (group_name, generation, module)
    )
    """,
    # `event` is json, not jsonb, as in the log: it is given back to the byte.
    """
    CREATE TABLE highway.dead_letter (
        id uuid PRIMARY KEY,
        group_name text NOT NULL,
        generation integer NOT NULL,
        module text NOT NULL,
        xact xid8 NOT NULL,
        seq bigint NOT NULL,
        type text,
        subject text,
        event json NOT NULL,
        error text NOT NULL,
        traceback text NOT NULL,
        attempts integer NOT NULL,
        deliveries integer NOT NULL DEFAULT 0,
        state text NOT NULL CHECK (state IN ('dead', 'queued', 'delivering', 'delivered')),
        first_failed_at timestamptz NOT NULL,
        last_failed_at timestamptz NOT NULL,
        requeued_at timestamptz,
        lease_until timestamptz,
        UNIQUE (group_name, generation, module, xact, seq)
    )
    """,
    "CREATE INDEX dead_letter_state ON highway.dead_letter (state, group_name, id)",
    # A projection is fed in the slot `live`; what is built beside it, in `next`, becomes live when it has caught up.
    """
    CREATE TABLE highway.projection (
        name text NOT NULL,
        slot text NOT NULL CHECK (slot IN ('live', 'next')),
        version integer NOT NULL,
        state text NOT NULL CHECK (state IN ('running', 'paused', 'failed')),
        xact xid8 NOT NULL,
        seq bigint NOT NULL,
        events bigint NOT NULL DEFAULT 0,
        definition json NOT NULL,
        error text,
        failed_xact xid8,
        failed_seq bigint,
        created_at timestamptz NOT NULL,
        moved_at timestamptz NOT NULL,
        PRIMARY KEY (name, slot)
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: what was kept there would be lost."""
    raise RuntimeError("revision 0002 cannot be undone")
