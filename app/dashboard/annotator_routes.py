"""The page of one annotator, and its form for what was decided of them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from app.access.authentication import PrincipalDep
from app.dashboard.annotator_values import LABELS_SHOWN, annotator_values
from app.dashboard.browser_input import ListQuery, PageForm
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dependencies import SessionDep
from app.reports import decisions
from app.reports.decisions import DecisionRequest
from app.reports.judgement_schemas import JudgedLabelQuery
from app.reports.routes import FinishedJobDep

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class AnnotatorPageQuery(ListQuery):
    """Which of the annotator's labels to list: those of one cell of the confusion, or all."""

    task: str | None = None
    label: str | None = None
    probable_label: str | None = None

    def labels(self) -> JudgedLabelQuery:
        return JudgedLabelQuery(**dict(self), limit=LABELS_SHOWN)


class DecisionForm(PageForm):
    action: Literal["keep", "retrain", "pause", "drop"]
    note: str = Field("", max_length=4000, pattern=r"^[^\x00]*$")


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


@router.post("/jobs/{job_id}/annotators/{annotator_id}/decisions")
def decide(
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
    annotator_id: str,
    form: Annotated[DecisionForm, Form()],
) -> Response:
    """The form on an annotator's page."""
    request = DecisionRequest(action=form.action, note=form.note)
    decisions.decide(session, principal, finished, annotator_id, request)
    return RedirectResponse(f"/jobs/{finished.job.id}/annotators/{annotator_id}#decisions", 303)
