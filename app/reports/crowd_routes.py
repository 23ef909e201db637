"""Pairs of annotators over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.changes import ChangeRoute
from app.dependencies import PageOf, SessionDep
from app.reports import crowd
from app.reports.crowd_schemas import AnnotatorPairRow, PairQuery
from app.reports.routes import FinishedJobDep

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["reports"], route_class=ChangeRoute)


@router.get("/{job_id}/agreement/pairs")
def list_pairs(
    session: SessionDep, finished: FinishedJobDep, query: Annotated[PairQuery, Query()]
) -> PageOf[AnnotatorPairRow]:
    """Who agrees with whom, and who makes the same mistakes as whom; those who share the most prompts come first."""
    return crowd.list_pairs(session, finished, query)
