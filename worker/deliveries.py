"""Sends what webhooks are to be told, beside the reconciler. Safe to run several: each takes other messages.

As https://www.standardwebhooks.com has it: `webhook-id`, `webhook-timestamp` and `webhook-signature`, and another try
after longer and longer pauses, over three days.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import random
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpcore
import httpx
import structlog

from app.database import webhook_queries
from app.database.session import transaction
from app.database.webhook_queries import Attempt, DueMessage
from app.destinations import CheckedNetwork, Refused, Resolve, check_url, look_up
from app.settings import Settings

log = structlog.get_logger(__name__)

SENT_AT_ONCE = 8
SECONDS_PER_ATTEMPT = 15.0
_PAUSE_SECONDS = 1.0
_FORGET_EVERY_SECONDS = 3600.0
_GONE = 410  # the receiver wants no more
# Before each try after the first: together 3 days.
PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)


def deliver_until(stop: threading.Event, settings: Settings) -> None:
    """Send what is due until told to stop, whatever it meets; from time to time, let go of what is old."""
    forget_at = time.monotonic()
    with ThreadPoolExecutor(SENT_AT_ONCE, thread_name_prefix="webhook") as senders:
        while not stop.is_set():
            try:
                if time.monotonic() >= forget_at:
                    forget_old_messages()
                    forget_at = time.monotonic() + _FORGET_EVERY_SECONDS
                if deliver_due(senders, settings):
                    continue
            except Exception as error:
                log.warning("webhooks wait", error=str(error).splitlines()[0])
            stop.wait(_PAUSE_SECONDS)


def deliver_due(senders: ThreadPoolExecutor, settings: Settings) -> int:
    """One pass; how many messages were due."""
    with transaction() as session:
        due = webhook_queries.take_due(session, SENT_AT_ONCE)
    list(senders.map(lambda message: _deliver(message, settings), due))
    return len(due)


def forget_old_messages() -> None:
    """Remove what no receiver waits for any more, some at a time, so that no transaction takes long."""
    while True:
        with transaction() as session:
            if not webhook_queries.forget_old_messages(session):
                return


def _deliver(message: DueMessage, settings: Settings) -> None:
    attempt = send(message, private_allowed=settings.webhook_private_addresses)
    again_in = None if attempt.succeeded or attempt.status == _GONE else _pause_after(message.attempt)
    log.info("webhook", webhook=message.webhook_id, message=message.id, status=attempt.status, error=attempt.error)
    with transaction() as session:
        webhook_queries.record_attempt(session, message, attempt, again_in)
        if attempt.status == _GONE:
            webhook_queries.disable_webhook(session, message.webhook_id)


def _pause_after(attempt: int) -> timedelta | None:
    """Until the next try; None after the last. A little random, so that not all come back at once."""
    if attempt > len(PAUSES):
        return None
    return PAUSES[attempt - 1] * random.uniform(1.0, 1.2)  # noqa: S311


def send(message: DueMessage, *, private_allowed: bool, resolve: Resolve = look_up) -> Attempt:
    """One try. Only the status of the answer is looked at: redirects are not followed, bodies not read."""
    started, status, error = time.monotonic(), None, None
    try:
        status = _post(message, private_allowed, resolve)
    except (Refused, OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as failure:
        error = f"{type(failure).__name__}: {failure}"[:500]
    return Attempt(status, error, round((time.monotonic() - started) * 1000))


def _post(message: DueMessage, private_allowed: bool, resolve: Resolve) -> int:
    parts = check_url(message.url, private_allowed=private_allowed)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    url = httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)
    signed = signed_headers(message.id, message.body, message.secrets, int(time.time()))
    headers = [("Host", parts.netloc), *signed.items()]
    network = CheckedNetwork(private_allowed=private_allowed, seconds=SECONDS_PER_ATTEMPT, resolve=resolve)
    with (
        httpcore.ConnectionPool(ssl_context=_trusted_certificates(), network_backend=network) as connections,
        connections.stream("POST", url, headers=headers, content=message.body.encode()) as response,
    ):
        return response.status


@functools.cache
def _trusted_certificates() -> ssl.SSLContext:
    """Read once: that takes longer than many a delivery."""
    return httpx.create_ssl_context()


def signed_headers(id_: str, body: str, secrets: Sequence[bytes], timestamp: int) -> dict[str, str]:
    """The headers by which a receiver knows that a message is ours and new."""
    signed = f"{id_}.{timestamp}.{body}".encode()
    signatures = (base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets)
    return {
        "Content-Type": "application/json",
        "User-Agent": "realm-webhooks",
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
