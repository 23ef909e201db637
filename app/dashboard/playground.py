"""What the pages about models show, and how the playground asks one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from app.dependencies import Page, PageOf
from app.errors import RealmError
from app.inference import prediction, service
from app.inference.engine import Inference
from app.inference.schemas import ModelAnswer
from app.reports import service as reports
from app.reports.schemas import AnnotatorQuery

MODELS_PER_PAGE = 50
ANNOTATORS_OFFERED = 200


class Asked(BaseModel):
    """The form of the playground. `options` are the prompt's own choices, one a line."""

    model_config = ConfigDict(extra="forbid")

    csrf_token: str = ""
    prompt: str = ""
    task: str = ""
    options: str = ""
    annotator: str = ""

    def body(self, annotator: str | None) -> bytes:
        """The request of the API that it stands for."""
        options = [line.strip() for line in self.options.splitlines() if line.strip()]
        given = {"prompt": self.prompt, "task": self.task or None, "options": options or None}
        inputs = {name: value for name, value in given.items() if value is not None}
        return json.dumps({"inputs": inputs, "parameters": {"truncation": "right"}, "annotator": annotator}).encode()


@dataclass(frozen=True)
class Answered:
    """The probability of each answer, and of each label of an annotator if one was named; or what was wrong."""

    rows: list[tuple[str, float, float | None]]
    truncated: bool = False
    fault: str | None = None


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


async def ask(inference: Inference, project_id: str, model_id: str, asked: Asked) -> Answered:
    """The model's answer, what is wrong with the question included."""
    try:
        truth = await _scores(inference, project_id, model_id, asked.body(None))
        said = await _scores(inference, project_id, model_id, asked.body(asked.annotator)) if asked.annotator else []
    except RealmError as error:
        if error.status in (401, 403, 404):
            raise
        return Answered([], fault=error.detail)
    of_annotator = {one["label"]: one["score"] for one in said}
    rows = [(one["label"], one["score"], of_annotator.get(one["label"])) for one in truth]
    return Answered(rows, truncated=any(one.get("truncated") for one in truth))


async def _scores(inference: Inference, project_id: str, model_id: str, body: bytes) -> list[dict[str, Any]]:
    answer, _ = await prediction.predict(inference, project_id, model_id, body)
    return [one for one in answer if isinstance(one, dict)]
