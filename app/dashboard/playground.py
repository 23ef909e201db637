"""The playground: a form that asks a model, and what it answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from app.dashboard.browser_input import PageForm
from app.errors import RealmError
from app.inference import prediction
from app.inference.engine import Inference


class Asked(PageForm):
    """The form of the playground. `options` are the prompt's own choices, one a line."""

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
