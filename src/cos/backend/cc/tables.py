"""The control centre's own tables."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON

metadata = MetaData()

module = Table(
    "module",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("version", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("last_active", DateTime(timezone=True)),
    Column("config", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    schema="cc",
)

health = Table(
    "health",
    metadata,
    Column("module", Text, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("details", JSON),
    Column("last_updated", DateTime(timezone=True), nullable=False),
    schema="cc",
)
