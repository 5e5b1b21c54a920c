"""The tables of the webhooks: endpoints and how far each has come, their secrets, their last attempts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from cos.memory.tables import Xid8, metadata

endpoint = Table(
    "endpoint",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("modules", ARRAY(Text), nullable=False),
    Column("types", ARRAY(Text), nullable=False),
    Column("subjects", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("state_since", DateTime(timezone=True), nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("owner", Uuid),
    Column("lease_until", DateTime(timezone=True)),
    Column("xact", Xid8, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("failing_since", DateTime(timezone=True)),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("delivered", BigInteger, nullable=False, server_default=text("0")),
    Column("buried", BigInteger, nullable=False, server_default=text("0")),
    Column("last_delivered_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('active', 'paused', 'disabled')"),
    schema="webhook",
)

secret = Table(
    "secret",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("endpoint_id", Uuid, ForeignKey("webhook.endpoint.id", ondelete="CASCADE"), nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Index("secret_endpoint", "endpoint_id"),
    schema="webhook",
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("endpoint_id", Uuid, ForeignKey("webhook.endpoint.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("position", Text),
    Column("type", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("delivered", Boolean, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("duration_ms", Double, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("attempt_endpoint", "endpoint_id", "id"),
    schema="webhook",
)
