"""The highway's tables: consumer groups, how far they are, their dead letters, and projections."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from cos.memory.tables import Xid8, metadata

consumer_group = Table(
    "consumer_group",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("xact", Xid8, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("definition", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    schema="highway",
)

group_position = Table(
    "group_position",
    metadata,
    Column("group_name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("module", Text, primary_key=True),
    Column("xact", Xid8, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
    schema="highway",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("group_name", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("module", Text, nullable=False),
    Column("xact", Xid8, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text),
    Column("subject", Text),
    Column("event", JSON, nullable=False),
    Column("error", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deliveries", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False),
    Column("first_failed_at", DateTime(timezone=True), nullable=False),
    Column("last_failed_at", DateTime(timezone=True), nullable=False),
    Column("requeued_at", DateTime(timezone=True)),
    Column("lease_until", DateTime(timezone=True)),
    UniqueConstraint("group_name", "generation", "module", "xact", "seq"),
    CheckConstraint("state IN ('dead', 'queued', 'delivering', 'delivered')"),
    Index("dead_letter_state", "state", "group_name", "id"),
    schema="highway",
)

projection = Table(
    "projection",
    metadata,
    Column("name", Text, primary_key=True),
    Column("slot", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("xact", Xid8, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False, server_default=text("0")),
    Column("definition", JSON, nullable=False),
    Column("error", Text),
    Column("failed_xact", Xid8),
    Column("failed_seq", BigInteger),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("slot IN ('live', 'next')"),
    CheckConstraint("state IN ('running', 'paused', 'failed')"),
    schema="highway",
)
