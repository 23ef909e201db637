"""What the pages about models show."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.dependencies import Page, PageOf
from app.errors import RealmError
from app.inference import service
from app.inference.schemas import ModelAnswer
from app.reports import service as reports
from app.reports.schemas import AnnotatorQuery

MODELS_PER_PAGE = 50
ANNOTATORS_OFFERED = 200


def list_values(session: Session, project_id: str, after: str | None) -> dict[str, Any]:
    """Everything that the template of the list reads."""
    rows = service.list_models(session, project_id, Page(after=after, limit=MODELS_PER_PAGE, order="desc"))
    return {"models": PageOf[ModelAnswer].of([ModelAnswer.of(row) for row in rows], MODELS_PER_PAGE), "after": after}


def playground_values(session: Session, project_id: str, model_id: str, *, pseudonyms: bool) -> dict[str, Any]:
    """What the template reads beside the question and its answer. Raises NotFound."""
    model = ModelAnswer.of(service.find_model(session, project_id, model_id))
    return {"model": model, "annotators": _annotators(session, project_id, model.job, pseudonyms=pseudonyms)}


def _annotators(session: Session, project_id: str, job_id: str | None, *, pseudonyms: bool) -> list[str]:
    """Names, or ids, to choose from; none when the model's job was deleted."""
    if job_id is None:
        return []
    try:
        finished = reports.find_finished_job(session, project_id, job_id)
    except RealmError:
        return []
    query = AnnotatorQuery(sort="name", limit=ANNOTATORS_OFFERED, pseudonyms=pseudonyms)
    return [row.annotator for row in reports.list_annotators(session, finished, query).data]
