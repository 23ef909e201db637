"""The body of a predict request, which its route reads itself: whole with a limit, or as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.errors import PayloadTooLarge, UnsupportedMediaType

JSON, NDJSON = "application/json", "application/x-ndjson"
MAX_JSON_BYTES = 16 * 1024**2

Answer = TypeVar("Answer")


def media_type(request: Request) -> str:
    """JSON or NDJSON. Raises UnsupportedMediaType."""
    given = request.headers.get("Content-Type", JSON).partition(";")[0].strip().lower()
    if given not in (JSON, NDJSON):
        raise UnsupportedMediaType(f"Content-Type {given!r} is not read here; send {JSON} or {NDJSON}.")
    return given


async def read_json_body(request: Request) -> bytes:
    """The whole body. Raises PayloadTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise PayloadTooLarge(f"A JSON body may have {MAX_JSON_BYTES:,} bytes; send {NDJSON}.")
    return bytes(body)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of `work`, which is cancelled when the client goes away. To be called after the body was read."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
