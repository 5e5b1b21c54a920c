"""The tables of the log, as SQLAlchemy sees them; the migrations make them, a test holds that both agree."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[int]):
    """Postgres's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type in DDL."""
        return "xid8"


metadata = MetaData()

record = Table(
    "record",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("xact", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("module", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text),
    Column("level", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("request_id", Text),
    Column("trace_id", Text),
    Column("traceparent", Text),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("idempotency_key", Text),
    Index("record_position", "xact", "seq"),
    Index("record_module_position", "module", "xact", "seq"),
    Index(
        "record_idempotency_key",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    schema="l1",
)

prompt_trace = Table(
    "prompt_trace",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("record_id", Uuid, ForeignKey("l1.record.id"), nullable=False, unique=True),
    Column("prompt", Text),
    Column("response", Text),
    Column("model", Text),
    Column("latency_ms", Integer),
    Column("tokens_in", Integer),
    Column("tokens_out", Integer),
    schema="l1",
)

generation = Table(
    "generation",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("database", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("began_at", DateTime(timezone=True), nullable=False),
    schema="l1",
)
