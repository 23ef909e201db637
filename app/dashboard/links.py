"""Addresses of a page with another part of its list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode


def linker(path: str, fragment: str, kept: dict[str, Any] | None = None) -> Callable[..., str]:
    """A function that gives the address of a page, at the element `fragment`, with a part of the query `kept` changed.

    What is None stands for nothing. `after` is never kept: another order or another part starts anew.
    """

    def link(**changes: Any) -> str:
        query = {name: value for name, value in (kept or {}).items() if name != "after"} | changes
        given = {name: value for name, value in query.items() if value is not None}
        return path + (f"?{urlencode(given)}" if given else "") + f"#{fragment}"

    return link
