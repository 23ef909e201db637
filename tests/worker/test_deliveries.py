"""Webhooks on their way to a real receiver, which checks them with the library that receivers use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError

from app.database.session import transaction
from app.database.webhook_queries import DueMessage
from app.settings import Settings, get_settings
from worker.deliveries import PAUSES, deliver_due, deliver_until, forget_old_messages, send


@dataclass
class Receiver:
    """What came, and what is answered: the statuses in their order, then 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append((dict(self.headers.items()), body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.send_header("Location", receiver.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook?token=1"
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def settings(services: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of a network that is all our own; nothing is due yet."""
    monkeypatch.setenv("REALM_WEBHOOK_PRIVATE_ADDRESSES", "true")
    get_settings.cache_clear()
    with transaction() as session:
        session.execute(text("DELETE FROM webhook_messages"))
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def webhook(settings: Settings, client: TestClient, receiver: Receiver) -> dict[str, Any]:
    return dict(client.post("/v1/webhooks", json={"url": receiver.url}).raise_for_status().json())


def test(client: TestClient, webhook: dict[str, Any]) -> str:
    """Send a test message; its id."""
    return str(client.post(f"/v1/webhooks/{webhook['id']}/test").raise_for_status().json()["id"])


test.__test__ = False  # type: ignore[attr-defined]


def passes(settings: Settings, n: int = 1) -> int:
    """How many messages were sent in so many passes, each as if the pauses were over."""
    sent = 0
    for _ in range(n):
        with transaction() as session:
            session.execute(text("UPDATE webhook_messages SET next_attempt_at = now() WHERE status = 'pending'"))
        with ThreadPoolExecutor(2) as senders:
            sent += deliver_due(senders, settings)
    return sent


def delivery(client: TestClient, webhook: dict[str, Any], message: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/webhooks/{webhook['id']}/deliveries/{message}").json())


def test_a_message_is_signed_as_standard_webhooks_has_it(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    message = test(client, webhook)
    assert passes(settings) == 1
    ((headers, body),) = receiver.received
    assert Webhook(webhook["secret"]).verify(body, headers)["type"] == "webhook.test"
    assert headers["webhook-id"] == message
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(body.replace(b"webhook.test", b"job.succeeded"), headers)
    found = delivery(client, webhook, message)
    assert (found["status"], found["next_attempt_at"]) == ("delivered", None)
    assert [(one["status"], one["error"]) for one in found["attempts"]] == [(204, None)]
    assert passes(settings) == 0


def test_both_secrets_are_good_while_one_is_rotated(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    rotated = client.post(f"/v1/webhooks/{webhook['id']}/rotate_secret").json()
    test(client, webhook)
    passes(settings)
    with transaction() as session:
        session.execute(text("UPDATE webhooks SET old_secret_until = now() - interval '1 s'"))
    test(client, webhook)
    passes(settings)
    first, second = receiver.received
    for secret in (webhook["secret"], rotated["secret"]):
        assert Webhook(secret).verify(first[1], first[0])
    assert Webhook(rotated["secret"]).verify(second[1], second[0])
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(second[1], second[0])


def test_it_is_tried_over_days_and_then_given_up(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    assert timedelta(days=3) < sum(PAUSES, timedelta()) < timedelta(days=4)
    receiver.statuses = [500, 302, 404, 429, 503, 500, 500, 500, 500, 500]
    message = test(client, webhook)
    assert passes(settings) == 1
    waiting = delivery(client, webhook, message)
    assert waiting["status"] == "pending"
    assert waiting["next_attempt_at"] > waiting["created_at"]
    with ThreadPoolExecutor(1) as senders:
        assert deliver_due(senders, settings) == 0, "its time has not come"
    assert passes(settings, len(PAUSES) + 3) == len(PAUSES)
    over = delivery(client, webhook, message)
    assert (over["status"], over["next_attempt_at"]) == ("failed", None)
    assert [one["status"] for one in over["attempts"]] == [500, 302, 404, 429, 503, 500, 500, 500, 500, 500]
    assert {headers["webhook-id"] for headers, _ in receiver.received} == {message}
    again = client.post(f"/v1/webhooks/{webhook['id']}/deliveries/{message}/redeliver")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert passes(settings) == 1
    assert delivery(client, webhook, message)["status"] == "delivered"


def test_a_receiver_that_is_gone_is_not_asked_again(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    receiver.statuses = [410]
    message = test(client, webhook)
    passes(settings, 2)
    assert delivery(client, webhook, message)["status"] == "failed"
    assert client.get(f"/v1/webhooks/{webhook['id']}").json()["enabled"] is False
    assert len(receiver.received) == 1


def test_several_deliverers_send_each_message_once(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    other = client.post("/v1/webhooks", json={"url": receiver.url}).json()
    sent = {test(client, one) for one in (webhook, other) for _ in range(5)}
    stop = threading.Event()
    deliverers = [threading.Thread(target=deliver_until, args=(stop, settings)) for _ in range(3)]
    for deliverer in deliverers:
        deliverer.start()
    while any(
        delivery(client, one, id_)["status"] == "pending" for one in (webhook, other) for id_ in sent & ids(client, one)
    ):
        pass
    stop.set()
    for deliverer in deliverers:
        deliverer.join()
    assert sorted(headers["webhook-id"] for headers, _ in receiver.received) == sorted(sent)


def ids(client: TestClient, webhook: dict[str, Any]) -> set[str]:
    return {one["id"] for one in client.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["data"]}


def test_a_message_whose_deliverer_died_is_sent_by_another(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    message = test(client, webhook)
    with transaction() as session:
        session.execute(text("UPDATE webhook_messages SET attempt = 1, next_attempt_at = now() + interval '1 minute'"))
    with ThreadPoolExecutor(1) as senders:
        assert deliver_due(senders, settings) == 0
    assert passes(settings) == 1
    assert [headers["webhook-id"] for headers, _ in receiver.received] == [message]


def test_old_messages_are_forgotten_unless_somebody_waits_for_them(
    client: TestClient, webhook: dict[str, Any], receiver: Receiver, settings: Settings
) -> None:
    _, recent = [test(client, webhook) for _ in range(2)]
    assert passes(settings, 2) == 2
    waiting = test(client, webhook)
    with transaction() as session:
        old = text("UPDATE webhook_messages SET created_at = now() - interval '31 days' WHERE id <> :recent")
        session.execute(old, {"recent": recent})
    forget_old_messages()
    assert ids(client, webhook) == {recent, waiting}
    client.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": False}).raise_for_status()
    forget_old_messages()
    assert ids(client, webhook) == {recent}


def due(url: str) -> DueMessage:
    return DueMessage("msg_1", "wh_1", url, (b"secret",), json.dumps({}), 1)


def test_a_private_address_is_refused_when_it_is_sent_to(receiver: Receiver) -> None:
    """Whatever was allowed when the webhook was made, and whatever its name stood for then."""
    port = receiver.url.split(":")[2].split("/")[0]
    named = send(due(f"https://hooks.example.org:{port}/"), private_allowed=False, resolve=lambda *_: ["127.0.0.1"])
    assert (named.status, named.error) == (None, "Refused: The host has an address that is private, local or reserved.")
    plain = send(due(receiver.url), private_allowed=False)
    assert plain.error == "Refused: The URL must begin with https://."
    assert receiver.received == []


def test_a_redirect_leads_nowhere(receiver: Receiver) -> None:
    with receiving() as inner:
        receiver.statuses, receiver.url, public = [307], inner.url, receiver.url
        attempt = send(due(public), private_allowed=True)
        assert (attempt.status, attempt.succeeded, inner.received) == (307, False, [])


def test_what_cannot_be_reached_says_why() -> None:
    refused = send(due("http://127.0.0.1:9/"), private_allowed=True)
    assert refused.error is not None
    assert refused.error.startswith("ConnectError")
    nobody = send(due("https://hooks.invalid/"), private_allowed=False)
    assert nobody.error is not None
    assert nobody.error.startswith("gaierror")
    long = send(due(f"https://{'a' * 70}.org/"), private_allowed=False)
    assert long.error is not None
    assert long.error.startswith("OSError")
