"""Two reports side by side, and a report without some annotators, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.dependencies import SessionDep
from app.reports import comparison, service, what_if
from app.reports.comparison_schemas import CompareQuery, Comparison, WhatIf, WhatIfRequest
from app.reports.routes import FinishedJobDep

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["reports"], route_class=ChangeRoute)


@router.get("/{job_id}/compare")
def compare(
    session: SessionDep, principal: PrincipalDep, finished: FinishedJobDep, query: Annotated[CompareQuery, Query()]
) -> Comparison:
    """This report beside that of another job: which cleaned labels differ, and whose accuracy."""
    other = service.find_finished_job(session, principal.project_id, query.with_)
    return comparison.compare(session, finished, other, pseudonyms=query.pseudonyms)


@router.post("/{job_id}/what_if")
def what_if_without(request: WhatIfRequest, session: SessionDep, finished: FinishedJobDep) -> WhatIf:
    """The report without the labels of some annotators. Nothing is trained or kept; it takes seconds."""
    return what_if.what_if_without(session, finished, request.without, pseudonyms=False)
