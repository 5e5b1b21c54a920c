"""The table of the scratch notes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, MetaData, Table, Text

metadata = MetaData()

note = Table(
    "scratch_note",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text(collation="C"), nullable=False, unique=True),
    Column("content", Text),
    Column("ttl_days", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Index("scratch_note_expiry", "expires_at"),
    schema="cc",
)
