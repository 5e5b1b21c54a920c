"""The shapes of the API of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@ -]{0,99}$",
        description="letters, digits and . _ @ - or spaces, at most 100; what tells one living token from another",
        examples=["book-editor"],
    ),
]
ScopeName = Literal["read", "write", "admin"]


class TokenIn(BaseModel):
    """A token that is wanted."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    scope: ScopeName = Field(default="read", description="read; write: records too; admin: everything")
    expires_in_days: int | None = Field(
        default=None, ge=1, le=3650, description="how long it lives; for ever when absent", examples=[90]
    )


class TokenView(BaseModel):
    """A token, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["3f9c01d2a47b5e60"])
    name: str
    scope: ScopeName
    state: Literal["living", "expired", "revoked"]
    created_at: datetime
    created_by: str = Field(description="name of the token that made it, `cos` for the command line")
    expires_at: datetime | None = None
    last_used_at: datetime | None = Field(default=None, description="to about half a minute")
    revoked_at: datetime | None = None


class TokenMade(TokenView):
    """A new token; the only time that its secret is shown."""

    token: str = Field(description="the secret: keep it, it cannot be shown again")
