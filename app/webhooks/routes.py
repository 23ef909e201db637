"""/v1/webhooks: addresses that are told how jobs end, as Standard Webhooks. For admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, status

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.database.tables import Webhook
from app.dependencies import PageDep, PageOf, SessionDep
from app.webhooks import service
from app.webhooks.schemas import DeliveryAnswer, NewWebhookAnswer, WebhookAnswer, WebhookChange, WebhookRequest


def _admin(principal: PrincipalDep) -> None:
    principal.require("admin")


def _webhook(webhook_id: str, principal: PrincipalDep, session: SessionDep) -> Webhook:
    return service.get_webhook(session, principal, webhook_id)


WebhookDep = Annotated[Webhook, Depends(_webhook)]
router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=ChangeRoute, dependencies=[Depends(_admin)])


@router.post("", status_code=status.HTTP_201_CREATED)
def create_webhook(request: WebhookRequest, principal: PrincipalDep, session: SessionDep) -> NewWebhookAnswer:
    """Tell an address how jobs end. The secret that signs the messages is shown this once."""
    return NewWebhookAnswer.with_secret(*service.create_webhook(session, principal, request))


@router.get("")
def list_webhooks(page: PageDep, principal: PrincipalDep, session: SessionDep) -> PageOf[WebhookAnswer]:
    """The project's webhooks, without their secrets."""
    webhooks = service.list_webhooks(session, principal, page)
    return PageOf[WebhookAnswer].of([WebhookAnswer.of(webhook) for webhook in webhooks], page.limit)


@router.get("/{webhook_id}")
def get_webhook(webhook: WebhookDep) -> WebhookAnswer:
    """One webhook."""
    return WebhookAnswer.of(webhook)


@router.patch("/{webhook_id}")
def change_webhook(change: WebhookChange, webhook: WebhookDep, session: SessionDep) -> WebhookAnswer:
    """Change a webhook's address, events or description, or switch it off and on."""
    return WebhookAnswer.of(service.change_webhook(session, webhook, change))


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_webhook(webhook: WebhookDep, session: SessionDep) -> None:
    """Delete a webhook with the log of its deliveries."""
    service.delete_webhook(session, webhook)


@router.post("/{webhook_id}/rotate_secret")
def rotate_webhook_secret(webhook: WebhookDep, session: SessionDep) -> NewWebhookAnswer:
    """A new secret, shown this once. For 24 hours messages are signed with the old one too."""
    return NewWebhookAnswer.with_secret(*service.rotate_secret(session, webhook))


@router.post("/{webhook_id}/test", status_code=status.HTTP_202_ACCEPTED)
def test_webhook(webhook: WebhookDep, session: SessionDep) -> DeliveryAnswer:
    """Send a message of the type webhook.test; its delivery tells how that went."""
    return DeliveryAnswer.of(service.send_test(session, webhook))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(page: PageDep, webhook: WebhookDep, session: SessionDep) -> PageOf[DeliveryAnswer]:
    """What was sent, or is to be, and how each attempt went. Kept for 30 days."""
    messages = service.list_deliveries(session, webhook, page)
    return PageOf[DeliveryAnswer].of([DeliveryAnswer.of(message) for message in messages], page.limit)


@router.get("/{webhook_id}/deliveries/{delivery_id}")
def get_delivery(delivery_id: str, webhook: WebhookDep, session: SessionDep) -> DeliveryAnswer:
    """One delivery."""
    return DeliveryAnswer.of(service.get_delivery(session, webhook, delivery_id))


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=status.HTTP_202_ACCEPTED)
def redeliver(delivery_id: str, webhook: WebhookDep, session: SessionDep) -> DeliveryAnswer:
    """Send a message again, with the same id, by which the receiver knows it."""
    return DeliveryAnswer.of(service.redeliver(session, webhook, delivery_id))
