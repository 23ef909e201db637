"""What the routes of webhooks take and answer."""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables import Webhook, WebhookMessage
from app.destinations import MAX_URL_LENGTH

Event = Literal["job.succeeded", "job.failed", "job.cancelled"]
EVENTS: frozenset[Event] = frozenset(("job.succeeded", "job.failed", "job.cancelled"))
Url = Field(max_length=MAX_URL_LENGTH, description="https, at a public address.")


class WebhookRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Url
    events: frozenset[Event] = Field(EVENTS, min_length=1, description="What it is told of.")
    description: str = Field("", max_length=200)


class WebhookChange(BaseModel):
    """What is to be different; the rest stays."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, max_length=MAX_URL_LENGTH)
    events: frozenset[Event] | None = Field(None, min_length=1)
    description: str | None = Field(None, max_length=200)
    enabled: bool | None = None


class WebhookAnswer(BaseModel):
    """A webhook without its secret."""

    object: Literal["webhook"] = "webhook"
    id: str
    url: str
    events: list[Event]
    description: str
    enabled: bool
    created_at: int

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        return cls.model_validate(_values(webhook))


class NewWebhookAnswer(WebhookAnswer):
    """A webhook with a new secret, shown this once. When the answer is replayed it is null."""

    secret: str | None

    @classmethod
    def with_secret(cls, webhook: Webhook, secret: str) -> Self:
        return cls.model_validate(_values(webhook) | {"secret": secret})


def _values(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": sorted(webhook.events),
        "description": webhook.description,
        "enabled": webhook.enabled,
        "created_at": int(webhook.created_at.timestamp()),
    }


class AttemptAnswer(BaseModel):
    """One try: the receiver's status, or the error that kept it from answering."""

    at: int
    status: int | None
    error: str | None
    ms: int


class DeliveryAnswer(BaseModel):
    """A message to a webhook; `id` is its webhook-id, the same in every attempt."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    event: str
    status: Literal["pending", "delivered", "failed"]
    created_at: int
    next_attempt_at: int | None
    attempts: list[AttemptAnswer]
    payload: dict[str, Any]

    @classmethod
    def of(cls, message: WebhookMessage) -> Self:
        due = message.next_attempt_at
        return cls.model_validate(
            {
                "id": message.id,
                "event": message.event,
                "status": message.status,
                "created_at": int(message.created_at.timestamp()),
                "next_attempt_at": None if due is None else int(due.timestamp()),
                "attempts": message.attempts,
                "payload": json.loads(message.body),
            }
        )
