"""The labels of one annotator over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.changes import ChangeRoute
from app.dependencies import PageOf, SessionDep
from app.reports import judgements
from app.reports.judgement_schemas import Behaviour, JudgedLabel, JudgedLabelQuery
from app.reports.routes import FinishedJobDep

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["reports"], route_class=ChangeRoute)


@router.get("/{job_id}/annotators/{annotator_id}/labels")
def list_judged_labels(
    session: SessionDep,
    finished: FinishedJobDep,
    annotator_id: str,
    query: Annotated[JudgedLabelQuery, Query()],
) -> PageOf[JudgedLabel]:
    """One annotator's labels with the probability that each is right; the most doubtful come first."""
    return judgements.list_judged_labels(session, finished, annotator_id, query)


@router.get("/{job_id}/annotators/{annotator_id}/behaviour")
def get_behaviour(session: SessionDep, finished: FinishedJobDep, annotator_id: str) -> Behaviour:
    """How often one annotator gives each answer, beside everybody's shares, and how well over time."""
    return judgements.get_behaviour(session, finished, annotator_id)
