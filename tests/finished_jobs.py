"""Jobs that have succeeded, for tests: real labels, the real report code, and a simulated model for a trained one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from app.database import annotation_queries, attempt_queries, dataset_queries, job_queries, report_queries
from app.database.base import new_id
from app.database.session import transaction
from realm_core.annotations import Annotations, FloatArray
from realm_core.reliability import build_report

ANSWERS = ("business", "science", "sports")
N_ITEMS = 240
FIRST_DAY, DAY = 1_700_000_000, 86_400
SCRIPT_NAME = "<script>alert('name')</script>"
FORMULA_NAME = '=HYPERLINK("http://evil.example","click")'
RIGHT_TO_LEFT_NAME = "\u202eeve"
HOSTILE_PROMPT = "<img src=x onerror=alert(1)> =cmd|' /C calc'!A0 {{ 7 * 7 }}"
GOOD = ("ada", "boris", "chen wei", RIGHT_TO_LEFT_NAME, FORMULA_NAME)


def crowd_rows() -> list[dict[str, Any]]:
    """Labels of five good annotators, and of one each who swaps answers, is worse than chance, always says the same."""
    draw = random.Random(5)
    return [row for item in range(N_ITEMS) for row in _rows_of(item, draw)]


def dated_rows() -> list[dict[str, Any]]:
    """The same with a prompt a day."""
    return [row | {"created_at": FIRST_DAY + DAY * int(row["item_id"].removeprefix("item-"))} for row in crowd_rows()]


def _rows_of(item: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    truth = draw.randrange(3)
    prompt = HOSTILE_PROMPT if item == 3 else f"Headline {item} about {ANSWERS[truth]}"
    for name in (*GOOD, "swap sam", SCRIPT_NAME, "always al"):
        if draw.random() < 0.7:
            label = ANSWERS[_label(name, truth, draw)]
            yield {
                "item_id": f"item-{item}",
                "prompt": prompt,
                "annotator": name,
                "label": label,
                "gold": ANSWERS[truth],
            }
    if item < 3:
        yield {"item_id": f"item-{item}", "prompt": prompt, "annotator": "newbie", "label": "sports"}


def _label(name: str, truth: int, draw: random.Random) -> int:
    if name == "always al":
        return 0
    right = draw.random() < 0.92
    if name == "swap sam":
        return {0: 1, 1: 0}.get(truth, truth) if right else truth
    if name == SCRIPT_NAME:
        right = not right
    return truth if right else (truth + draw.choice((1, 2))) % 3


@dataclass(frozen=True)
class FinishedJob:
    id: str
    dataset_id: str


def upload(client: TestClient, rows: list[dict[str, Any]], name: str = "headlines") -> str:
    """The id of a new dataset."""
    answer = client.post("/v1/datasets", json={"name": name, "annotations": rows})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def finish_job(project_id: str, dataset_id: str, *, with_model: bool = True, **values: Any) -> FinishedJob:
    """A job on a dataset that went through all its states, with the report that its labels give."""
    job_id = new_id("ftjob-")
    with transaction() as session:
        dataset = dataset_queries.find_dataset(session, project_id, dataset_id)
        assert dataset is not None
        job = job_queries.add_job(
            session,
            id=job_id,
            project_id=project_id,
            dataset_id=dataset_id,
            dataset_version=1,
            model="minilm",
            method={"type": "realm" if with_model else "aggregation", "hyperparameters": {}},
            seed=1,
            **values,
        )
        loaded = annotation_queries.load_annotations(session, dataset.key, 1)
        log_p = simulated_model(loaded.annotations) if with_model else None
        report = build_report(loaded.annotations, log_p, cross_fitted=with_model, trained_accuracy=None)
        claim = attempt_queries.claim_job(session, job_id, "a worker", 60)
        assert claim is not None
        report_queries.write_report(session, job.key, report, loaded.annotator_ids)
        attempt_queries.succeed(session, claim, None)
    return FinishedJob(job_id, dataset_id)


def simulated_model(annotations: Annotations) -> FloatArray:
    """log p(y | x) (N, Kmax) of a model that is right most of the time, and unsure."""
    assert annotations.gold is not None
    counts = annotations.answer_counts
    chosen = np.random.default_rng(5).random(annotations.n_items) < 0.8
    favourite = np.where(chosen, annotations.gold, 0)
    answers = np.arange(counts.max())
    weight = np.where(answers == favourite[:, None], 4.0, 1.0) * (answers < counts[:, None])
    with np.errstate(divide="ignore"):
        log_p: FloatArray = np.log(weight / weight.sum(axis=1, keepdims=True))
    return log_p
