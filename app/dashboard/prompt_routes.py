"""The pages about the prompts of a job: what to label again, and why a label is what it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from app.access.authentication import PrincipalDep
from app.dashboard.browser_input import ListQuery
from app.dashboard.prompt_values import PROMPTS_PER_PAGE, prompt_values, prompts_values
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dependencies import SessionDep
from app.reports.schemas import ItemQuery, ItemSort

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class PromptsQuery(ListQuery):
    """Which prompts to list."""

    text: str | None = Field(None, max_length=1000)
    task: str | None = None
    label: str | None = None
    probability_min: float | None = Field(None, ge=0, le=1)
    probability_max: float | None = Field(None, ge=0, le=1)
    sort: ItemSort = "-relabel_gain"

    def items(self) -> ItemQuery:
        return ItemQuery(**dict(self), limit=PROMPTS_PER_PAGE)


@router.get("/jobs/{job_id}/prompts")
def prompts_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    pseudonyms: PseudonymsDep,
    job_id: str,
    query: Annotated[PromptsQuery, Query()],
) -> HTMLResponse:
    """What to label again, how much of it, and by whom."""
    values = prompts_values(session, principal, job_id, query.items(), pseudonyms=pseudonyms)
    return page(request, "prompts/page.html", **values)


@router.get("/jobs/{job_id}/prompts/{item_id}")
def prompt_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    pseudonyms: PseudonymsDep,
    job_id: str,
    item_id: str,
) -> HTMLResponse:
    """One prompt: its votes with their weight, what the model says, and what follows."""
    values = prompt_values(session, principal, job_id, item_id, pseudonyms=pseudonyms)
    return page(request, "prompts/prompt.html", **values)
