"""The tables of tokens and of the page's sessions."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, Index, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()

token = Table(
    "token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    # A name tells one living token from another; that of a revoked one may be used again.
    Index("token_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
    schema="cc",
)

session = Table(
    "session",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token_id", Text, ForeignKey("cc.token.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    schema="cc",
)
