"""The page of a job, and its button that cancels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from app.access.authentication import PrincipalDep
from app.dashboard.browser_input import ListQuery
from app.dashboard.job_values import ROWS_PER_PAGE, job_values
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dependencies import SessionDep
from app.fine_tuning import service as fine_tuning
from app.reports.schemas import AnnotatorQuery, AnnotatorSort

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class JobPageQuery(ListQuery):
    """Which annotators the table shows."""

    name: str | None = Field(None, max_length=200)
    task: str | None = None
    sort: AnnotatorSort = "concern"

    def annotators(self, pseudonyms: bool) -> AnnotatorQuery:
        return AnnotatorQuery(**dict(self), limit=ROWS_PER_PAGE, pseudonyms=pseudonyms)


@router.get("/jobs/{job_id}")
def job_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    job_id: str,
    pseudonyms: PseudonymsDep,
    query: Annotated[JobPageQuery, Query()],
) -> HTMLResponse:
    """One job: its progress while it runs, its report when it has succeeded, and why not otherwise."""
    return page(request, "job/page.html", **job_values(session, principal, job_id, query.annotators(pseudonyms)))


@router.post("/jobs/{job_id}/cancel")
def cancel_job(session: SessionDep, principal: PrincipalDep, job_id: str) -> Response:
    """The button on the job's page."""
    fine_tuning.cancel_job(session, principal.project_id, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)
