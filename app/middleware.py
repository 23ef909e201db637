"""What surrounds every request: its id, its log line, the security headers, and limits on its body."""

from __future__ import annotations

import re
import secrets
import time
import uuid
import zlib

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability import observe_request
from app.problems import internal_error, problem

log = structlog.get_logger("app.request")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _content_security_policy(nonce: str) -> str:
    """Own files only. Plotly sets style attributes, which `style-src-attr` allows and nothing else does."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; "
        "style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class RequestContext:
    """Gives a request its id and CSP nonce, its answer the security headers, and the log one line.

    It also turns what no handler caught into a problem with status 500, so that this answer has the headers too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        given = Headers(scope=scope).get("X-Request-Id", "")
        state["request_id"] = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state["csp_nonce"] = secrets.token_urlsafe(16)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=state["request_id"])
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), state["request_id"], state["csp_nonce"])
                MutableHeaders(scope=message).update(state.get("rate_limit_headers", {}))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("unhandled error", method=scope["method"], path=scope["path"])
            if status:
                raise
            await internal_error(Request(scope))(scope, receive, send_with_headers)
        finally:
            _note(scope, status, time.perf_counter() - started)


def _add_headers(headers: MutableHeaders, request_id: str, nonce: str) -> None:
    headers["X-Request-Id"] = request_id
    headers["Content-Security-Policy"] = _content_security_policy(nonce)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store")


def _note(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "unmatched")
    observe_request(scope["method"], route, status, seconds)
    log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))


class AllowedHosts:
    """Answers only under the names it is known by: others are a page that made its own name point at this machine."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _host_name(scope) in self._names:
            await self._app(scope, receive, send)
            return
        detail = "The Host header names another site; set REALM_PUBLIC_URL to the address that browsers use."
        answer = problem(Request(scope), 400, "unknown_host", "Bad request", detail)
        await answer(scope, receive, send)


def _host_name(scope: Scope) -> str:
    """The Host header without its port: [::1]:8000 is [::1]."""
    host = Headers(scope=scope).get("Host", "").lower()
    name, _, port = host.rpartition(":")
    return name if port.isdecimal() else host


class BodyLimit:
    """Refuses bodies that are too large with 413, by their declared length or while they arrive.

    Most routes read their body whole before anybody asked who is calling, so the limit is low except where bodies are
    streamed (`streamed`, matched against the path).
    """

    def __init__(self, app: ASGIApp, limit: int, streamed_limit: int, streamed: re.Pattern[str]) -> None:
        self._app = app
        self._limit = limit
        self._streamed_limit = streamed_limit
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._streamed_limit if self._streamed.fullmatch(scope["path"]) else self._limit
        too_large = HTTPException(413, f"The body is larger than the {limit:,} bytes that are allowed here.")
        declared = Headers(scope=scope).get("Content-Length", "")
        size = 0

        async def receive_up_to_limit() -> Message:
            nonlocal size
            if declared.isdecimal() and int(declared) > limit:
                raise too_large
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise too_large
            return message

        await self._app(scope, receive_up_to_limit, send)


class PlainBody:
    """Unpacks bodies that come with `Content-Encoding: gzip`, up to a size; uploads look into theirs themselves."""

    def __init__(self, app: ASGIApp, limit: int, uploads: re.Pattern[str]) -> None:
        self._app = app
        self._limit = limit
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        encoding = Headers(scope=scope).get("Content-Encoding", "identity").lower() if scope["type"] == "http" else ""
        if encoding in ("", "identity") or self._uploads.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        unpacker, size = zlib.decompressobj(16 + zlib.MAX_WBITS), 0

        async def receive_plain() -> Message:
            nonlocal size
            if encoding != "gzip":
                raise HTTPException(415, f"Content-Encoding {encoding!r} is not read here; send gzip or none.")
            message = await receive()
            if message["type"] == "http.request":
                message = {**message, "body": _unpack(unpacker, message.get("body", b""), self._limit - size)}
                size += len(message["body"])
                if not message.get("more_body", False) and not unpacker.eof:
                    raise HTTPException(400, "The gzip body ends too early.")
            return message

        await self._app(scope, receive_plain, send)


def _unpack(unpacker: zlib._Decompress, packed: bytes, room: int) -> bytes:
    try:
        plain = unpacker.decompress(packed, room + 1)
    except zlib.error as error:
        raise HTTPException(400, f"The gzip body is damaged: {error}.") from None
    if unpacker.unused_data:
        raise HTTPException(400, "Something follows the gzip body.")
    if len(plain) > room:
        raise HTTPException(413, "The body is too large when it is unpacked.")
    return plain
