"""Labelling again, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.changes import ChangeRoute
from app.dependencies import SessionDep
from app.reports import relabelling
from app.reports.relabelling_schemas import Coverage, CoverageQuery
from app.reports.routes import FinishedJobDep

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["reports"], route_class=ChangeRoute)


@router.get("/{job_id}/coverage")
def get_coverage(session: SessionDep, finished: FinishedJobDep, query: Annotated[CoverageQuery, Query()]) -> Coverage:
    """How right the labels are of which one is surest, and how many to label again for a share of right ones."""
    return relabelling.get_coverage(session, finished, query)
