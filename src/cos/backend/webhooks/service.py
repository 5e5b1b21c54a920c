"""What the webhooks' routes do, without HTTP; each change is itself an event of the module cc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import insert

from cos.backend.cc.logging import log_l1
from cos.backend.deps import transaction
from cos.backend.webhooks.schemas import Attempt, Attempts, Webhook, WebhookMade, Webhooks
from cos.common import clock, ids, messages, webhook_signature
from cos.common.target import Target
from cos.errors import BadInput
from cos.memory.position import Position
from cos.memory.selection import Selection
from cos.memory.webhook_tables import attempt as attempts
from cos.memory.webhooks import endpoints
from cos.memory.webhooks.endpoint import Endpoint

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.deps import Services
    from cos.backend.webhooks.schemas import Begin, Exchange, State, WebhookIn, WebhookPatch, Why
    from cos.common.session import Readable

TEST = "webhook.test"


async def check(services: Services, url: str) -> None:
    """Prove that a URL may be posted to, as far as that is known now; raises BadInput or Refused."""
    await services.webhooks.outbound.check(Target.parse(url))


async def create(db: AsyncSession, given: WebhookIn) -> WebhookMade:
    """Add a webhook; gives it with its secret."""
    after = await endpoints.top(db) if given.after is None else Position.parse(given.after)
    await endpoints.check_place(db, after)
    endpoint_id, secret = await endpoints.create(
        db,
        url=given.url,
        description=given.description,
        selection=Selection.of(modules=given.modules, types=given.types, subjects=given.subjects),
        after=after,
        secret=None if given.secret is None else given.secret.get_secret_value(),
    )
    made = await show(db, endpoint_id)
    await _tell(db, "webhook.created", made)
    return WebhookMade(**made.model_dump(), secret=secret)


async def find(db: Readable, *, state: State | None, before: UUID | None, limit: int) -> Webhooks:
    """Give a page of webhooks, newest first."""
    rows = await endpoints.page(db, state=state, before=before, limit=limit + 1)
    letters = await endpoints.dead_letters(db, [row.id for row in rows])
    shown = [_view(row, letters) for row in rows[:limit]]
    return Webhooks(webhooks=shown, next=shown[-1].id if len(rows) > limit else None)


async def show(db: Readable, endpoint_id: UUID) -> Webhook:
    """Give one."""
    row = await endpoints.get(db, endpoint_id)
    return _view(row, await endpoints.dead_letters(db, [endpoint_id]))


async def change(db: AsyncSession, endpoint_id: UUID, patch: WebhookPatch) -> Webhook:
    """Change what the patch names."""
    for name in patch.model_fields_set:
        if getattr(patch, name) is None:
            raise BadInput(f"{name} cannot be null; leave it out to keep it.")
    row = await endpoints.get(db, endpoint_id, lock=True)
    names = {"modules", "types", "subjects"}
    selection = None
    if patch.model_fields_set & names:
        selection = Selection.of(
            **{
                name: getattr(patch, name) if name in patch.model_fields_set else getattr(row, name)
                for name in names
            }
        )
    if not patch.model_fields_set:
        return await show(db, endpoint_id)
    await endpoints.change(db, endpoint_id, url=patch.url, description=patch.description, selection=selection)
    return await _told(db, endpoint_id, "webhook.changed")


async def pause(db: AsyncSession, endpoint_id: UUID, why: Why) -> Webhook:
    """Stop deliveries after the one under way."""
    await endpoints.pause(db, endpoint_id, why.reason)
    return await _told(db, endpoint_id, "webhook.paused")


async def resume(db: AsyncSession, endpoint_id: UUID, where: Begin) -> Webhook:
    """Deliver again what was paused."""
    await endpoints.start(db, endpoint_id, was="paused", after=None, from_now=where.begin == "now")
    return await _told(db, endpoint_id, "webhook.resumed")


async def enable(db: AsyncSession, endpoint_id: UUID, where: Begin) -> Webhook:
    """Deliver again what was disabled."""
    await endpoints.start(db, endpoint_id, was="disabled", after=None, from_now=where.begin == "now")
    return await _told(db, endpoint_id, "webhook.enabled")


async def rotate(
    db: AsyncSession, endpoint_id: UUID, how: Exchange, *, overlap_seconds: float
) -> WebhookMade:
    """Exchange the secret; gives the new one."""
    overlap = overlap_seconds if how.overlap_seconds is None else how.overlap_seconds
    given = None if how.secret is None else how.secret.get_secret_value()
    secret = await endpoints.exchange_secret(db, endpoint_id, secret=given, overlap_seconds=overlap)
    made = await _told(db, endpoint_id, "webhook.rotated", overlap_seconds=overlap)
    return WebhookMade(**made.model_dump(), secret=secret)


async def remove(db: AsyncSession, endpoint_id: UUID) -> Webhook:
    """Delete one; gives it as it was."""
    was = await show(db, endpoint_id)
    await endpoints.remove(db, endpoint_id)
    await _tell(db, "webhook.deleted", was)
    return was


async def last_attempts(db: Readable, endpoint_id: UUID, limit: int) -> Attempts:
    """Give the last tries, newest first."""
    rows = await endpoints.last_attempts(db, endpoint_id, limit=limit)
    return Attempts(attempts=[Attempt.model_validate(row) for row in rows])


async def test(services: Services, endpoint_id: UUID) -> Attempt:
    """Send a `webhook.test` now, whatever the state; no transaction is open meanwhile."""
    async with transaction(services) as db:
        row = await endpoints.get(db, endpoint_id)
        secrets = await endpoints.secrets_of(db, endpoint_id)
    endpoint = Endpoint(
        id=row.id,
        epoch=0,
        target=Target.parse(row.url),
        selection=Selection(),
        secrets=[(webhook_signature.key_of(one), end) for one, end in secrets],
        position=Position(int(row.xact), row.seq),
    )
    event_id, now = ids.uuid7(), clock.now()
    envelope = messages.Envelope(
        specversion="1.0",
        id=event_id,
        source="/cos/cc",
        type=TEST,
        time=now,
        subject=str(endpoint_id),
        datacontenttype="application/json",
        data=msgspec.Raw(msgspec.json.encode({"webhook": str(endpoint_id)})),
        module="cc",
        level="info",
        position="0-0",
        recordedtime=now,
    )
    outcome = await services.webhooks.sender.send(
        endpoint, message_id=str(event_id), body=messages.encode(envelope)
    )
    made = Attempt(
        id=ids.uuid7(),
        event_id=event_id,
        position=None,
        type=TEST,
        attempt=1,
        delivered=outcome.delivered,
        status=outcome.status,
        error=outcome.error,
        duration_ms=outcome.milliseconds,
        at=now,
    )
    async with transaction(services) as db:
        await endpoints.get(db, endpoint_id, lock=True)  # it may have been deleted meanwhile
        await db.execute(insert(attempts).values(made.model_dump() | {"endpoint_id": endpoint_id}))
        told = made.model_dump(mode="json", include={"delivered", "status", "error", "event_id"})
        await log_l1(db, "webhook.tested", told, subject=str(endpoint_id))
    return made


async def _told(db: AsyncSession, endpoint_id: UUID, event: str, **more: Any) -> Webhook:
    made = await show(db, endpoint_id)
    await _tell(db, event, made, **more)
    return made


async def _tell(db: AsyncSession, event: str, webhook: Webhook, **more: Any) -> None:
    await log_l1(db, event, webhook.model_dump(mode="json") | more, subject=str(webhook.id))


def _view(row: Any, letters: dict[UUID, int]) -> Webhook:
    members = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    members["state"] = members.pop("shown_state")
    members["position"] = str(Position(int(members.pop("xact")), members.pop("seq")))
    return Webhook(**members, dead_letters=letters.get(row.id, 0))
