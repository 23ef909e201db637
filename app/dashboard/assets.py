"""Stylesheet, scripts and plotly.js: served from here, never from another site, and kept by browsers for good."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")
FOR_GOOD = "public, max-age=31536000, immutable"


class Assets(StaticFiles):
    """Our own files, and those that plotly's wheel carries."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC, packages=[("plotly", "package_data")])

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """An answer that a browser need not ask for again: `address` changes with the content."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = FOR_GOOD
        return response


@lru_cache
def address(name: str) -> str:
    """Where a file is served, with a part that changes whenever the file does."""
    path, _ = Assets().lookup_path(name)
    return f"/static/{name}?v={hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}"
