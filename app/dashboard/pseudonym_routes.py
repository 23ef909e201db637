"""The switch between names and pseudonyms, on the pages of reports and datasets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from app.dashboard.browser_input import PageForm
from app.dashboard.pseudonyms import remember
from app.dashboard.rendering import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class PseudonymsForm(PageForm):
    back: str = Field(pattern=r"^/(jobs|datasets)/[A-Za-z0-9_-]{1,64}$", description="The page that it leads back to.")
    pseudonyms: bool = False


@router.post("/pseudonyms")
def choose_pseudonyms(form: Annotated[PseudonymsForm, Form()]) -> Response:
    """The form of the switch."""
    response = RedirectResponse(form.back, 303)
    remember(response, form.pseudonyms)
    return response
