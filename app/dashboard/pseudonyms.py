"""Whether this browser's pages call annotators by pseudonym: a choice of who looks, kept in a cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import Response

_COOKIE = "realm_pseudonyms"
_LIFETIME = 365 * 24 * 3600


def remember(response: Response, wanted: bool) -> None:
    """Let the browser keep the choice."""
    response.set_cookie(_COOKIE, "on" if wanted else "off", max_age=_LIFETIME, httponly=True, samesite="lax")


def _wanted(request: Request) -> bool:
    return request.cookies.get(_COOKIE) == "on"


PseudonymsDep = Annotated[bool, Depends(_wanted)]
