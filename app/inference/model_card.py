"""The README.md that a downloaded model carries: what it is, where it comes from, how to ask it."""

from __future__ import annotations

import json

from app.database.model_queries import ModelRow

_CARD = """\
---
library_name: transformers
tags:
- realm
- noisy-labels
{base_model}---

# {id}

Fine-tuned from `{base}` by the job `{job}` on the dataset `{dataset}`, with REALM: it learned the most probable answers
of a crowd whose annotators are not equally reliable, and how reliable each of them is.

Tasks and their answers:

{tasks}

`config.json`, `model.safetensors` and the tokenizer files are the language model, for `transformers`. `realm.json` and
`realm.safetensors` hold the tasks, the answers and what was learned of the annotators. To ask it:

    from pathlib import Path
    from realm_core.predictor import Predictor, PredictInput

    predictor = Predictor.load(Path("this folder"))
    predictor.predict([PredictInput("a text", task={task})])

Its answers are probabilities that it gives to texts like those it was trained on; it has the biases of its annotators
and of its base model.
"""


def model_card(row: ModelRow) -> bytes:
    """Markdown. Names that users chose stand in indented blocks as JSON, where they can be no markup."""
    model, job_id, dataset_id, dataset_version, _ = row
    tasks = [json.dumps({task["name"]: task["answers"]}, ensure_ascii=False) for task in model.tasks]
    card = _CARD.format(
        base_model=f"base_model: {model.base}\n" if "/" in model.base else "",
        id=model.id,
        base=model.base,
        job=job_id or "that was deleted",
        dataset=f"{dataset_id}@{dataset_version}" if dataset_id else "that was deleted",
        tasks="\n".join(f"    {task}" for task in tasks),
        task=json.dumps(model.tasks[0]["name"], ensure_ascii=False),
    )
    return card.encode()
