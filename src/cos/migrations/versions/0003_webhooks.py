"""Webhook endpoints and how far each has come."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    "CREATE SCHEMA webhook",
    # Up to (xact, seq) all that the endpoint wants was delivered, or is a dead letter. Who serves it holds a lease;
    # `epoch` rises with each change of a person, so that what was begun before changes nothing after.
    """
    CREATE TABLE webhook.endpoint (
        id uuid PRIMARY KEY,
        url text NOT NULL,
        description text NOT NULL,
        modules text[] NOT NULL,
        types text[] NOT NULL,
        subjects text[] NOT NULL,
        state text NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
        reason text,
        state_since timestamptz NOT NULL,
        epoch integer NOT NULL DEFAULT 0,
        owner uuid,
        lease_until timestamptz,
        xact xid8 NOT NULL,
        seq bigint NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        failing_since timestamptz,
        failures integer NOT NULL DEFAULT 0,
        error text,
        delivered bigint NOT NULL DEFAULT 0,
        buried bigint NOT NULL DEFAULT 0,
        last_delivered_at timestamptz,
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL
    )
    """,
    # Apart from what is shown of an endpoint, so that no list of its columns can show a secret.
    """
    CREATE TABLE webhook.secret (
        id uuid PRIMARY KEY,
        endpoint_id uuid NOT NULL REFERENCES webhook.endpoint (id) ON DELETE CASCADE,
        secret text NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz
    )
    """,
    "CREATE INDEX secret_endpoint ON webhook.secret (endpoint_id)",
    # The last attempts of each endpoint, for whoever looks why something did not arrive.
    """
    CREATE TABLE webhook.attempt (
        id uuid PRIMARY KEY,
        endpoint_id uuid NOT NULL REFERENCES webhook.endpoint (id) ON DELETE CASCADE,
        event_id uuid NOT NULL,
        position text,
        type text NOT NULL,
        attempt integer NOT NULL,
        delivered boolean NOT NULL,
        status integer,
        error text,
        duration_ms double precision NOT NULL,
        at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX attempt_endpoint ON webhook.attempt (endpoint_id, id)",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: what was kept there would be lost."""
    raise RuntimeError("revision 0003 cannot be undone")
