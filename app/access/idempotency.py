"""Idempotency-Key: a POST that comes again, because its answer was lost, is answered as the first time.

The answer is kept in the transaction of what the request made, so either both are there or neither. Whoever holds
the key in a transaction is alone with it; a second request meanwhile is told to wait.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.orm import Session
from starlette.types import Message, Receive

from app.access.service import Principal
from app.database import change_queries
from app.database.tables import StoredAnswer
from app.errors import Conflict, Unprocessable

SECRET_FIELDS = ("key", "secret")  # of an answer; they are shown once, not kept and not shown again


class AnsweredBefore(Exception):
    """There is an answer to this request already."""

    def __init__(self, stored: StoredAnswer) -> None:
        super().__init__()
        self.stored = stored


class ReceivedBody:
    """Counts the bytes of a body while it arrives, and takes their SHA-256 if that is wanted.

    The boundary of a form is left out, as clients draw a new one each time that they send the same form.
    """

    def __init__(self, receive: Receive, content_type: str, *, with_digest: bool) -> None:
        self._receive = receive
        self._with_digest = with_digest
        self._sha256 = hashlib.sha256()
        _, _, boundary = content_type.partition("boundary=")
        self._boundary = boundary.strip('"').encode()
        self._rest = b""  # what may be the beginning of a boundary
        self._complete = False
        self.n_bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.n_bytes += len(message.get("body", b""))
            if self._with_digest:
                self._add(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        return message

    def _add(self, piece: bytes) -> None:
        if not self._boundary:
            self._sha256.update(piece)
            return
        text = (self._rest + piece).replace(self._boundary, b"-")
        kept = len(self._boundary) - 1
        whole = max(len(text) - kept, 0)
        self._sha256.update(text[:whole])
        self._rest = text[whole:]

    async def digest(self) -> bytes:
        """The digest of the whole body, once the rest of the body has been read and dropped."""
        while not self._complete:
            if (await self.receive())["type"] == "http.disconnect":
                break
        self._sha256.update(self._rest)
        self._rest = b""
        return self._sha256.digest()


def claim(session: Session, principal: Principal, idempotency_key: str) -> None:
    """Hold the key until the transaction ends. Raises AnsweredBefore, and Conflict while another request holds it."""
    if not change_queries.claim_idempotency_key(session, principal.key_id, idempotency_key):
        detail = "A request with this Idempotency-Key is being worked on; try again for its answer."
        raise Conflict(detail, code="idempotency_key_in_use", headers={"Retry-After": "1"})
    stored = change_queries.find_answer(session, principal.key_id, idempotency_key)
    if stored is not None:
        raise AnsweredBefore(stored)


def _target(request: Request) -> str:
    """The method, path and query, by which a request is told from others with the same body."""
    return f"{request.method} {request.url.path}?{request.url.query}"


def replay(request: Request, stored: StoredAnswer, body_sha256: bytes) -> Response:
    """The first answer again. Raises Unprocessable when the key was used for another request."""
    if (stored.request, stored.body_sha256) != (_target(request), body_sha256):
        detail = "This Idempotency-Key was used for another request; every new request needs a new key."
        raise Unprocessable(detail, code="idempotency_key_reused")
    headers = {"Idempotency-Replayed": "true"}
    return Response(stored.answer, stored.status, headers, media_type="application/json")


def keep(
    session: Session,
    principal: Principal,
    idempotency_key: str,
    request: Request,
    status: int,
    answer: dict[str, Any],
    body_sha256: bytes,
) -> None:
    """Keep an answer for 24 hours, without its secrets."""
    secrets = [name for name in SECRET_FIELDS if name in answer]
    change_queries.keep_answer(
        session,
        api_key_id=principal.key_id,
        idempotency_key=idempotency_key,
        request=_target(request),
        body_sha256=body_sha256,
        status=status,
        answer=json.dumps(answer | dict.fromkeys(secrets)).encode(),
    )
