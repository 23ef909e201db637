"""What was decided of an annotator, over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, status

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.dependencies import PageDep, PageOf, SessionDep
from app.reports import decisions
from app.reports.decisions import DecisionAnswer, DecisionRequest
from app.reports.routes import FinishedJobDep

router = APIRouter(
    prefix="/v1/fine_tuning/jobs/{job_id}/annotators/{annotator_id}/decisions",
    tags=["reports"],
    route_class=ChangeRoute,
)


@router.post("", status_code=status.HTTP_201_CREATED)
def create_decision(
    request: DecisionRequest,
    annotator_id: str,
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
) -> DecisionAnswer:
    """Note what you decided of an annotator. Nothing follows from it by itself."""
    return decisions.decide(session, principal, finished, annotator_id, request)


@router.get("")
def list_decisions(
    annotator_id: str, page: PageDep, session: SessionDep, finished: FinishedJobDep
) -> PageOf[DecisionAnswer]:
    """What was decided of an annotator upon this report, with the figures of the moment."""
    return decisions.list_decisions(session, finished, annotator_id, page)
