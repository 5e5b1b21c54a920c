"""The log, its prompt traces, the highway's generations, and the control centre's modules."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    "CREATE SCHEMA l1",
    "CREATE SCHEMA cc",
    # `data` is json, not jsonb: what was recorded is given back to the byte, key order and all.
    """
    CREATE TABLE l1.record (
        id uuid PRIMARY KEY,
        xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
        seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        module text NOT NULL,
        type text NOT NULL,
        subject text,
        level text NOT NULL,
        data json NOT NULL,
        request_id text,
        trace_id text,
        traceparent text,
        time timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL,
        idempotency_key text
    )
    """,
    # The relay's reads, and pages over the whole log. Not unique: the identity sees to that, and each unique index is
    # looked up once more by every insert that may run into a conflict.
    "CREATE INDEX record_position ON l1.record (xact, seq)",
    # One module's stream: what it lacks, and pages over one module.
    "CREATE INDEX record_module_position ON l1.record (module, xact, seq)",
    """
    CREATE UNIQUE INDEX record_idempotency_key ON l1.record (idempotency_key)
    WHERE idempotency_key IS NOT NULL
    """,
    """
    CREATE TABLE l1.prompt_trace (
        id uuid PRIMARY KEY,
        record_id uuid NOT NULL UNIQUE REFERENCES l1.record (id),
        prompt text,
        response text,
        model text,
        latency_ms integer,
        tokens_in integer,
        tokens_out integer
    )
    """,
    """
    CREATE TABLE l1.generation (
        number integer PRIMARY KEY,
        database text NOT NULL,
        reason text NOT NULL,
        began_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE cc.module (
        id text PRIMARY KEY,
        name text NOT NULL UNIQUE,
        version text NOT NULL,
        active boolean NOT NULL,
        last_active timestamptz,
        config text,
        created_at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Make the first tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the log is kept for ever."""
    raise RuntimeError("the first revision cannot be undone")
