"""The annotators of a project, and erasing one for good."""

from __future__ import annotations

import re

from sqlalchemy.orm import Session

from app.access import service as access
from app.annotators.schemas import AnnotatorPage
from app.database import annotator_queries
from app.database.lock_waits import DataBusy
from app.database.tables import Annotator
from app.errors import Conflict, NotFound


def get_annotator(session: Session, project_id: str, public_id: str, *, param: str = "annotator_id") -> Annotator:
    """An annotator of the project. Raises NotFound."""
    number = re.fullmatch(r"ann_([1-9][0-9]{0,8})", public_id, re.ASCII)
    found = annotator_queries.find_annotator(session, project_id, int(number[1])) if number else None
    if found is None:
        raise NotFound(f"There is no annotator {public_id!r}.", param=param)
    return found


def list_annotators(session: Session, project_id: str, page: AnnotatorPage) -> list[Annotator]:
    """A page of the project's annotators, one more than its limit when there are more. Raises NotFound."""
    return annotator_queries.list_annotators(
        session,
        project_id,
        name_contains=page.name,
        after=None if page.after is None else get_annotator(session, project_id, page.after, param="after").id,
        limit=page.limit,
        descending=page.descending,
    )


def erase_annotator(session: Session, project_id: str, public_id: str) -> None:
    """Remove all that tells of an annotator. Raises NotFound, Conflict."""
    annotator = get_annotator(session, project_id, public_id)
    try:
        locked = annotator_queries.lock_for_erasure(session, annotator)
    except DataBusy:
        raise Conflict("Labels are being added just now; try again.", code="annotator_busy") from None
    affected = annotator_queries.datasets_with_labels_of(session, annotator, locked)
    if annotator_queries.have_unfinished_jobs(session, affected):
        detail = "A job on labels of this annotator is not finished; cancel it or wait."
        raise Conflict(detail, code="annotator_in_use")
    annotator_queries.erase(session, annotator, affected)
    access.revoke_annotators_keys(session, project_id, public_id)
