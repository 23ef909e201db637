"""/v1/annotators: who labels in a project, and erasing them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.annotators import service
from app.annotators.schemas import AnnotatorAnswer, AnnotatorPage
from app.dependencies import PageOf, SessionDep

router = APIRouter(prefix="/v1/annotators", tags=["annotators"], route_class=ChangeRoute)


@router.get("")
def list_annotators(
    page: Annotated[AnnotatorPage, Query()], principal: PrincipalDep, session: SessionDep
) -> PageOf[AnnotatorAnswer]:
    """Everybody who labelled in this project."""
    annotators = service.list_annotators(session, principal.project_id, page)
    return PageOf[AnnotatorAnswer].of([AnnotatorAnswer.of(annotator) for annotator in annotators], page.limit)


@router.get("/{annotator_id}")
def get_annotator(annotator_id: str, principal: PrincipalDep, session: SessionDep) -> AnnotatorAnswer:
    """One annotator."""
    return AnnotatorAnswer.of(service.get_annotator(session, principal.project_id, annotator_id))


@router.delete("/{annotator_id}", status_code=status.HTTP_204_NO_CONTENT)
def erase_annotator(annotator_id: str, principal: PrincipalDep, session: SessionDep) -> None:
    """Erase an annotator, for admins: their name, labels in all versions of all datasets, and rows in all reports.

    What does not tell who they are stays: the counts and SHA-256 of dataset versions as they were uploaded, the
    overviews of reports, cleaned labels, and models, which know annotators by id only. 409 while a job is unfinished
    on a dataset with labels of theirs.
    """
    principal.require("admin")
    service.erase_annotator(session, principal.project_id, annotator_id)
