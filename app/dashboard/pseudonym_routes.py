"""The switch between names and pseudonyms on the pages of a report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from app.dashboard.pseudonyms import remember
from app.dashboard.rendering import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class PseudonymsForm(BaseModel):
    model_config = ConfigDict(extra="forbid")
    csrf_token: str = ""
    job_id: str
    pseudonyms: bool = False


@router.post("/pseudonyms")
def choose_pseudonyms(form: Annotated[PseudonymsForm, Form()]) -> Response:
    """The form of the switch, which leads back to the job."""
    response = RedirectResponse(f"/jobs/{form.job_id}" if form.job_id.isascii() else "/", 303)
    remember(response, form.pseudonyms)
    return response
