"""The pages of the dashboard: they call the functions that the API calls, and show what it answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.access.authentication import PrincipalDep
from app.dashboard.annotator_page import LABELS_SHOWN, annotator_values
from app.dashboard.api_reference import operations_by_tag
from app.dashboard.home_page import home_values
from app.dashboard.job_page import ROWS_PER_PAGE, job_values
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dependencies import SessionDep
from app.fine_tuning import service as fine_tuning
from app.reports import service as reports
from app.reports.judgement_schemas import JudgedLabelQuery
from app.reports.schemas import AnnotatorQuery, AnnotatorSort
from app.settings import get_settings

OWN_REPORTS_SHOWN = 100

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class HomeQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    after: str | None = None


class JobPageQuery(BaseModel):
    """Which annotators the table shows; a field that a form left empty does not restrict."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, max_length=200)
    task: str | None = None
    sort: AnnotatorSort = "concern"
    after: str | None = None

    @field_validator("name", "task")
    @classmethod
    def _empty_is_none(cls, value: str | None) -> str | None:
        return value or None

    def annotators(self, pseudonyms: bool) -> AnnotatorQuery:
        return AnnotatorQuery(**dict(self), limit=ROWS_PER_PAGE, pseudonyms=pseudonyms)


class AnnotatorPageQuery(BaseModel):
    """Which of the annotator's labels to list: those of one cell of the confusion, or all."""

    model_config = ConfigDict(extra="forbid")
    task: str | None = None
    label: str | None = None
    probable_label: str | None = None
    after: str | None = None

    def labels(self) -> JudgedLabelQuery:
        return JudgedLabelQuery(**dict(self), limit=LABELS_SHOWN)


@router.get("/")
def home(
    request: Request, session: SessionDep, principal: PrincipalDep, query: Annotated[HomeQuery, Query()]
) -> HTMLResponse:
    """Jobs and datasets; what to do when there are none. To an annotator, the reports that are about them."""
    if principal.own_annotator is not None:
        jobs = reports.jobs_about(session, principal.project_id, principal.own_annotator, OWN_REPORTS_SHOWN)
        return page(request, "annotator/own_reports.html", jobs=jobs)
    return page(request, "home.html", **home_values(session, principal, query.after))


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


@router.get("/jobs/{job_id}/annotators/{annotator_id}")
def annotator_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    job_id: str,
    annotator_id: str,
    pseudonyms: PseudonymsDep,
    query: Annotated[AnnotatorPageQuery, Query()],
) -> HTMLResponse:
    """One annotator: how good, what they confuse, since when, and the labels behind it."""
    values = annotator_values(session, principal, job_id, annotator_id, query.labels(), pseudonyms=pseudonyms)
    return page(request, "annotator/page.html", **values)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(session: SessionDep, principal: PrincipalDep, job_id: str) -> Response:
    """The button on the job's page."""
    fine_tuning.cancel_job(session, principal.project_id, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.get("/docs")
def api_reference(request: Request) -> HTMLResponse:
    """Every call of the API, with its fields."""
    groups = operations_by_tag(request.app.openapi())
    return page(request, "api_reference.html", groups=groups, url=get_settings().url)
