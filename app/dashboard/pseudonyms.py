"""Whether this browser's pages call annotators by pseudonym: a choice of who looks, kept in a cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from app.dashboard.rendering import PageRoute

COOKIE = "realm_pseudonyms"
LIFETIME = 365 * 24 * 3600

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _wanted(request: Request) -> bool:
    return request.cookies.get(COOKIE) == "on"


PseudonymsDep = Annotated[bool, Depends(_wanted)]


class PseudonymsForm(BaseModel):
    model_config = ConfigDict(extra="forbid")
    csrf_token: str = ""
    job_id: str
    pseudonyms: bool = False


@router.post("/pseudonyms")
def choose_pseudonyms(form: Annotated[PseudonymsForm, Form()]) -> Response:
    """The switch on the pages of a report."""
    response = RedirectResponse(f"/jobs/{form.job_id}" if form.job_id.isascii() else "/", 303)
    value = "on" if form.pseudonyms else "off"
    response.set_cookie(COOKIE, value, max_age=LIFETIME, httponly=True, samesite="lax")
    return response
