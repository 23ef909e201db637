"""Webhooks: who may have them, and their secrets. `worker.deliveries` sends what is due."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.access.service import Principal
from app.database import webhook_queries
from app.database.tables import Webhook, WebhookMessage
from app.dependencies import Page
from app.destinations import Refused, check_url
from app.errors import Conflict, NotFound, Unprocessable
from app.settings import get_settings
from app.webhooks.schemas import WebhookChange, WebhookRequest

MAX_WEBHOOKS = 20  # of one project
OLD_SECRETS_SIGN_FOR = timedelta(hours=24)
_SECRET_BYTES = 32
_TEST_EVENT = "webhook.test"


def create_webhook(session: Session, principal: Principal, request: WebhookRequest) -> tuple[Webhook, str]:
    """A new webhook and its secret. Raises Conflict, Unprocessable."""
    _check(request.url)
    if webhook_queries.count_webhooks(session, principal.project_id) >= MAX_WEBHOOKS:
        raise Conflict(f"A project has at most {MAX_WEBHOOKS} webhooks.", code="too_many_webhooks")
    secret = secrets.token_bytes(_SECRET_BYTES)
    webhook = webhook_queries.add_webhook(
        session,
        project_id=principal.project_id,
        url=request.url,
        events=sorted(request.events),
        description=request.description,
        secret=secret,
    )
    return webhook, _shown(secret)


def _check(url: str) -> None:
    try:
        check_url(url, private_allowed=get_settings().webhook_private_addresses)
    except Refused as refused:
        raise Unprocessable(str(refused), code="url_not_allowed", param="url") from None


def _shown(secret: bytes) -> str:
    """As Standard Webhooks writes secrets."""
    return "whsec_" + base64.b64encode(secret).decode()


def get_webhook(session: Session, principal: Principal, webhook_id: str) -> Webhook:
    """A webhook of the caller's project. Raises NotFound."""
    webhook = webhook_queries.find_webhook(session, principal.project_id, webhook_id)
    if webhook is None:
        raise NotFound(f"There is no webhook {webhook_id!r}.", param="webhook_id")
    return webhook


def list_webhooks(session: Session, principal: Principal, page: Page) -> list[Webhook]:
    """A page of the project's webhooks, one more than its limit when there are more. Raises NotFound."""
    after = None if page.after is None else get_webhook(session, principal, page.after)
    return webhook_queries.list_webhooks(
        session, principal.project_id, after=after, limit=page.limit, descending=page.descending
    )


def change_webhook(session: Session, webhook: Webhook, change: WebhookChange) -> Webhook:
    """Change what the request names. Raises Unprocessable."""
    values: dict[str, Any] = change.model_dump(exclude_none=True)
    if change.url is not None:
        _check(change.url)
    if change.events is not None:
        values["events"] = sorted(change.events)
    return webhook_queries.change_webhook(session, webhook, **values) if values else webhook


def rotate_secret(session: Session, webhook: Webhook) -> tuple[Webhook, str]:
    """A new secret; for a day messages are signed with the one before too, so that receivers can change over."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    until = func.now() + OLD_SECRETS_SIGN_FOR
    changed = webhook_queries.change_webhook(
        session, webhook, secret=secret, old_secret=webhook.secret, old_secret_until=until
    )
    return changed, _shown(secret)


def send_test(session: Session, webhook: Webhook) -> WebhookMessage:
    """A message that tells of nothing. Raises Conflict."""
    _require_enabled(webhook)
    return webhook_queries.add_message(session, webhook.id, _TEST_EVENT, {"object": "webhook", "id": webhook.id})


def _require_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise Conflict("The webhook is switched off; set `enabled` first.", code="webhook_disabled")


def get_delivery(session: Session, webhook: Webhook, delivery_id: str) -> WebhookMessage:
    """One message to a webhook. Raises NotFound."""
    message = webhook_queries.find_message(session, webhook, delivery_id)
    if message is None:
        raise NotFound(f"There is no delivery {delivery_id!r}.", param="delivery_id")
    return message


def list_deliveries(session: Session, webhook: Webhook, page: Page) -> list[WebhookMessage]:
    """A page of the messages to a webhook, one more than its limit when there are more. Raises NotFound."""
    after = None if page.after is None else get_delivery(session, webhook, page.after)
    return webhook_queries.list_messages(session, webhook, after=after, limit=page.limit, descending=page.descending)


def redeliver(session: Session, webhook: Webhook, delivery_id: str) -> WebhookMessage:
    """Send a message again, with the same id. Raises NotFound, Conflict."""
    message = get_delivery(session, webhook, delivery_id)
    _require_enabled(webhook)
    return webhook_queries.send_again(session, message)


def delete_webhook(session: Session, webhook: Webhook) -> None:
    """Remove a webhook with all its messages."""
    webhook_queries.delete_webhook(session, webhook)
