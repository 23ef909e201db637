"""The page of one annotator, and its forms: what was decided of them, and keys of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from app.access import service as access
from app.access.authentication import PrincipalDep
from app.dashboard.annotator_values import LABELS_SHOWN, annotator_values, new_key_values
from app.dashboard.browser_input import ListQuery, PageForm
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dashboard.report_values import about
from app.dependencies import SessionDep
from app.reports import decisions
from app.reports.decisions import DecisionRequest
from app.reports.judgement_schemas import JudgedLabelQuery
from app.reports.routes import FinishedJobDep
from app.settings import get_settings

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


class KeyForm(PageForm):
    """When the new key ends; empty is never."""

    days: float | None = Field(None, gt=0, le=3650)


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


@router.post("/jobs/{job_id}/annotators/{annotator_id}/keys")
def make_annotators_key(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
    pseudonyms: PseudonymsDep,
    annotator_id: str,
    form: Annotated[KeyForm, Form()],
) -> HTMLResponse:
    """The button that makes an annotator a key of their own: the page that it leads to is all that shows the secret."""
    values = new_key_values(session, principal, finished, annotator_id, form.days)
    shown = about(session, finished, pseudonyms=pseudonyms) | values
    return page(request, "annotator/new_key.html", login=f"{get_settings().url}/login", **shown)


@router.post("/jobs/{job_id}/annotators/{annotator_id}/keys/{key_id}/revoke")
def revoke_annotators_key(
    session: SessionDep, principal: PrincipalDep, job_id: str, annotator_id: str, key_id: str
) -> Response:
    """The button beside one of those keys."""
    principal.require("admin")
    access.revoke_key(session, principal, key_id, annotator_id=annotator_id)
    return RedirectResponse(f"/jobs/{job_id}/annotators/{annotator_id}#keys", 303)
