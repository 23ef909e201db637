"""ETag, If-None-Match and If-Match (RFC 9110, 13): nobody changes what they have not seen as it is now.

Every JSON answer to a GET carries an ETag. A PUT, PATCH or DELETE with If-Match reads what its path names (or, for a
part without a GET of its own, what it is part of) by that GET, in its own transaction, before it changes anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from app.errors import PreconditionFailed

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Readers:
    """What answers a GET, by the path of its route."""

    def __init__(self) -> None:
        self._by_path: dict[str, Handler] = {}

    def add(self, path: str, handler: Handler) -> Handler:
        """Note who reads a path; the same handler, whose answers have ETags."""
        self._by_path[path] = handler

        async def handle_read(request: Request) -> Response:
            response = await handler(request)
            etag = _etag(response)
            if etag is None:
                return response
            response.headers["ETag"] = etag
            if _names(request.headers.get("If-None-Match", ""), etag, weak=True):
                return Response(status_code=304, headers={"ETag": etag})
            return response

        return handle_read

    async def check(self, request: Request, path: str, if_match: str) -> None:
        """Raises PreconditionFailed unless `if_match` names what the path has now; NotFound when that has nothing."""
        reader = next((self._by_path[part] for part in _upwards(path) if part in self._by_path), None)
        if reader is None:
            raise PreconditionFailed("This has no ETag; send the request without If-Match.")
        scope = {**request.scope, "method": "GET", "query_string": b""}
        etag = _etag(await reader(Request(scope)))
        if etag is None or not _names(if_match, etag, weak=False):
            raise PreconditionFailed("It was changed since you read it; read it again and decide anew.")


READERS = Readers()


def _upwards(path: str) -> list[str]:
    """The path and what it is part of, as long as that is one thing and not a list."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 0, -1) if "{" in "/".join(parts[:n])]


def _etag(response: Response) -> str | None:
    """By the bytes of a JSON answer; None for all others."""
    body = getattr(response, "body", b"")
    if response.status_code != 200 or not body or response.headers.get("Content-Type") != "application/json":
        return None
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _names(header: str, etag: str, *, weak: bool) -> bool:
    """Whether one of the ETags of a header is `etag`; a weak one is never good enough to change something."""
    named = {one.strip() for one in header.split(",")}
    return bool(named & ({"*", etag, f"W/{etag}"} if weak else {"*", etag}))
