"""Jobs over HTTP, for tests: their address, data for them, and what a worker and a refusal do."""

from __future__ import annotations

from typing import Any

from app.database import attempt_queries, dataset_queries
from app.database.attempt_queries import Claim
from app.database.base import new_id
from app.database.session import transaction
from app.database.tables import Dataset
from tests.conftest import ProjectKeys

JOBS = "/v1/fine_tuning/jobs"


def add_dataset(project: ProjectKeys, *, has_text: bool = True, n_versions: int = 1, **version: Any) -> Dataset:
    """A dataset as an upload leaves it, without its rows."""
    with transaction() as session:
        dataset = dataset_queries.add_dataset(session, new_id("ds_"), project.id, "crowd", has_text=has_text)
        facts = {"sha256": "0" * 64, "n_labels": 10, "n_items": 5, "n_annotators": 2, "counts": {}, "warnings": []}
        for number in range(1, n_versions + 1):
            dataset_queries.add_version(session, **(facts | {"dataset_key": dataset.key, "number": number} | version))
        return dataset


def claim(job: dict[str, Any]) -> Claim:
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job["id"], "worker-1", 60)
    assert claim is not None
    return claim


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["error"]["message"] == body["detail"]
    return body
