"""The switch between names and pseudonyms on the pages of a report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response

from app.dashboard.browser_input import PageForm
from app.dashboard.pseudonyms import remember
from app.dashboard.rendering import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class PseudonymsForm(PageForm):
    job_id: str
    pseudonyms: bool = False


@router.post("/pseudonyms")
def choose_pseudonyms(form: Annotated[PseudonymsForm, Form()]) -> Response:
    """The form of the switch, which leads back to the job."""
    response = RedirectResponse(f"/jobs/{form.job_id}" if form.job_id.isascii() else "/", 303)
    remember(response, form.pseudonyms)
    return response
