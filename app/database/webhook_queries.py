"""Webhooks, and the messages to them that wait to be delivered.

A message is written in the transaction of what it tells of, so either both are there or neither. Whoever delivers takes
a message for a while, at most one of each webhook at a time: a receiver that hangs holds up nobody but itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, cast, delete, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, distinct_on
from sqlalchemy.orm import Session

from app.database.base import new_id
from app.database.keyset_pages import page_by_date
from app.database.tables import Job, Project, Webhook, WebhookMessage

TAKEN_FOR = timedelta(minutes=2)  # longer than a delivery may take
MESSAGES_ARE_KEPT_FOR = timedelta(days=30)
_FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True)
class DueMessage:
    """A message that is to be delivered now, for the `attempt`-th time."""

    id: str
    webhook_id: str
    url: str
    secrets: tuple[bytes, ...]  # the newest first
    body: str
    attempt: int


@dataclass(frozen=True)
class Attempt:
    """How a delivery went: the receiver's status, or why there is none."""

    status: int | None
    error: str | None
    ms: int

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def count_webhooks(session: Session, project_id: str) -> int:
    """The webhooks of a project; no other transaction adds one until this one ends."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
    return session.execute(select(func.count()).where(Webhook.project_id == project_id)).scalar_one()


def add_webhook(session: Session, **values: Any) -> Webhook:
    return session.execute(insert(Webhook).values(id=new_id("wh_"), **values).returning(Webhook)).scalar_one()


def find_webhook(session: Session, project_id: str, webhook_id: str) -> Webhook | None:
    query = select(Webhook).where(Webhook.id == webhook_id, Webhook.project_id == project_id)
    return session.execute(query).scalar_one_or_none()


def list_webhooks(
    session: Session, project_id: str, *, after: Webhook | None, limit: int, descending: bool
) -> list[Webhook]:
    """A page of a project's webhooks by (created_at, id), one more than `limit` when there are more."""
    query = select(Webhook).where(Webhook.project_id == project_id)
    query = page_by_date(query, Webhook, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def change_webhook(session: Session, webhook: Webhook, **values: Any) -> Webhook:
    session.execute(update(Webhook).where(Webhook.id == webhook.id).values(**values))
    session.refresh(webhook)
    return webhook


def delete_webhook(session: Session, webhook: Webhook) -> None:
    session.execute(delete(Webhook).where(Webhook.id == webhook.id))


def announce_end(session: Session, job_key: int) -> None:
    """Write a message to every webhook that wants to know how a job ended, which this transaction has ended."""
    job = session.execute(select(Job).where(Job.key == job_key).execution_options(populate_existing=True)).scalar_one()
    event = f"job.{job.status}"
    wanted = select(Webhook.id).where(
        Webhook.project_id == job.project_id, Webhook.enabled, Webhook.events.contains([event])
    )
    for webhook_id in session.execute(wanted).scalars().all():
        add_message(session, webhook_id, event, _told_of(job))


def _told_of(job: Job) -> dict[str, Any]:
    error = None if job.error_code is None else {"code": job.error_code, "message": job.error_message}
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "status": job.status,
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "error": error,
        "metadata": job.job_metadata,
    }


def add_message(session: Session, webhook_id: str, event: str, data: dict[str, Any]) -> WebhookMessage:
    """Write a message, due at once, in the shape that Standard Webhooks recommends."""
    body = {"type": event, "timestamp": datetime.now(UTC).isoformat(), "data": data}
    values = {"id": new_id("msg_"), "webhook_id": webhook_id, "event": event, "body": json.dumps(body)}
    new = insert(WebhookMessage).values(**values).returning(WebhookMessage)
    return session.execute(new).scalar_one()


def find_message(session: Session, webhook: Webhook, message_id: str) -> WebhookMessage | None:
    query = select(WebhookMessage).where(WebhookMessage.id == message_id, WebhookMessage.webhook_id == webhook.id)
    return session.execute(query).scalar_one_or_none()


def list_messages(
    session: Session, webhook: Webhook, *, after: WebhookMessage | None, limit: int, descending: bool
) -> list[WebhookMessage]:
    """A page of a webhook's messages by (created_at, id), one more than `limit` when there are more."""
    query = select(WebhookMessage).where(WebhookMessage.webhook_id == webhook.id)
    query = page_by_date(query, WebhookMessage, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def send_again(session: Session, message: WebhookMessage) -> WebhookMessage:
    """Make a message due now, with all its attempts before it once more."""
    again = {"status": "pending", "attempt": 0, "next_attempt_at": func.now()}
    session.execute(update(WebhookMessage).where(WebhookMessage.id == message.id).values(**again))
    session.refresh(message)
    return message


def take_due(session: Session, limit: int) -> list[DueMessage]:
    """Take messages whose time has come, the oldest of each webhook."""
    due = and_(WebhookMessage.next_attempt_at <= func.now(), WebhookMessage.status == "pending")
    oldest = (
        select(WebhookMessage.id)
        .join(Webhook, Webhook.id == WebhookMessage.webhook_id)
        .where(due, Webhook.enabled)
        .ext(distinct_on(WebhookMessage.webhook_id))
        .order_by(WebhookMessage.webhook_id, WebhookMessage.next_attempt_at, WebhookMessage.id)
        .limit(limit)
    )
    free = select(WebhookMessage.id).where(WebhookMessage.id.in_(oldest), due).with_for_update(skip_locked=True)
    ids = session.execute(free).scalars().all()
    taken = (
        update(WebhookMessage)
        .where(WebhookMessage.id.in_(ids), Webhook.id == WebhookMessage.webhook_id)
        .values(attempt=WebhookMessage.attempt + 1, next_attempt_at=func.now() + TAKEN_FOR)
        .returning(WebhookMessage.id, WebhookMessage.body, WebhookMessage.attempt, Webhook)
    )
    return [
        DueMessage(id_, webhook.id, webhook.url, _secrets(webhook), body, attempt)
        for id_, body, attempt, webhook in session.execute(taken)
    ]


def _secrets(webhook: Webhook) -> tuple[bytes, ...]:
    """The secret, and for a while after it was rotated also the one before."""
    until = webhook.old_secret_until
    if webhook.old_secret is None or until is None or until < datetime.now(UTC):
        return (webhook.secret,)
    return (webhook.secret, webhook.old_secret)


def record_attempt(session: Session, message: DueMessage, attempt: Attempt, again_in: timedelta | None) -> None:
    """Note how a delivery went and when the next is due, None for never; nothing when somebody else has the message."""
    over = "delivered" if attempt.succeeded else "failed"
    told = {
        "at": int(datetime.now(UTC).timestamp()),
        "status": attempt.status,
        "error": attempt.error,
        "ms": attempt.ms,
    }
    session.execute(
        update(WebhookMessage)
        .where(WebhookMessage.id == message.id, WebhookMessage.attempt == message.attempt)
        .values(
            status=over if again_in is None else "pending",
            next_attempt_at=None if again_in is None else func.now() + again_in,
            attempts=WebhookMessage.attempts.op("||")(func.jsonb_build_array(_json(told))),
        )
    )


def _json(value: dict[str, Any]) -> Any:
    return cast(literal(json.dumps(value)), JSONB)


def disable_webhook(session: Session, webhook_id: str) -> None:
    session.execute(update(Webhook).where(Webhook.id == webhook_id).values(enabled=False))


def forget_old_messages(session: Session) -> bool:
    """Remove some old messages that are over or wait for a webhook that is switched off; False when there are none."""
    old = (
        select(WebhookMessage.id)
        .join(Webhook, Webhook.id == WebhookMessage.webhook_id)
        .where(
            WebhookMessage.created_at < func.now() - MESSAGES_ARE_KEPT_FOR,
            or_(WebhookMessage.next_attempt_at.is_(None), Webhook.enabled.is_(False)),
        )
        .limit(_FORGOTTEN_AT_ONCE)
    )
    gone = delete(WebhookMessage).where(WebhookMessage.id.in_(old)).returning(WebhookMessage.id)
    return session.execute(gone).first() is not None
