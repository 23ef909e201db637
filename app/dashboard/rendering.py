"""From a template to an answer. Everything that users uploaded is escaped by Jinja, in scripts' data by `tojson`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.access.changes import ChangeRoute
from app.dashboard import flags, formatting
from app.dashboard.assets import address
from app.dashboard.permissions import may
from app.errors import RealmError, Unauthorized, Unprocessable

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(formatting.FILTERS | flags.FILTERS)
_TEMPLATES.globals["asset"] = address


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for the caller who was let in."""
    principal = request.state.principal
    text = _TEMPLATES.get_template(template).render(
        principal=principal, may_change=may(principal, "editor"), nonce=request.state.csp_nonce, **values
    )
    return HTMLResponse(text, status)


class PageRoute(ChangeRoute):
    """A route whose errors are pages too, but for the missing login, which has a form of its own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthorized:
                raise
            except RealmError as error:
                return page(request, "error.html", error.status, error=error)
            except RequestValidationError as error:
                fault = error.errors()[0]
                detail = f"{fault['loc'][-1]}: {fault['msg']}"
                return page(request, "error.html", 422, error=Unprocessable(detail))

        return answer
