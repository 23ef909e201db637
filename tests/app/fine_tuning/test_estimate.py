"""What a job would take is told before it is started, and nothing is started."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database import attempt_queries, job_queries
from app.database.attempt_queries import News, Progress
from app.database.session import transaction
from app.fine_tuning.model_sizes import size_of
from tests.conftest import ProjectKeys
from tests.jobs import queue_job
from tests.worker.crowds import upload_crowd

JOBS = "/v1/fine_tuning/jobs"
N_ITEMS, N_LABELS = 60, 180


@pytest.fixture
def dataset(client: TestClient) -> str:
    return upload_crowd(client, N_ITEMS)


def estimate(client: TestClient, dataset: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"{JOBS}/estimate", json={"dataset": dataset, "model": "minilm"} | body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def realm(**hyperparameters: Any) -> dict[str, Any]:
    return {"method": {"type": "realm", "realm": {"hyperparameters": hyperparameters}}}


def finish_job(project: ProjectKeys, dataset: str, seconds: float, **values: Any) -> None:
    """A job that took a while, most of it training: 20 steps of 10 prompts."""
    method = {"type": "realm", "hyperparameters": {"batch_size": 10}}
    job = queue_job(project.id, dataset_id=dataset, **({"model": "minilm", "method": method} | values))
    pace = {"reading": {"seconds": 0.1 * seconds, "steps": 0}, "training": {"seconds": 0.9 * seconds, "steps": 20}}
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "worker-1", 60)
        assert claim is not None
        attempt_queries.record(session, claim, News(progress=Progress("saving", 1, 1, 99, None, pace)))
        attempt_queries.succeed(session, claim, None)
        began = "UPDATE jobs SET started_at = finished_at - :spent WHERE key = :key"
        session.execute(text(began), {"spent": timedelta(seconds=seconds), "key": job.key})


def forget_paces() -> None:
    """Jobs of other tests count too: rates are those of the installation."""
    with transaction() as session:
        session.execute(text("UPDATE jobs SET progress = progress - 'pace'"))


def test_without_experience_by_the_size_of_the_model(client: TestClient, dataset: str, project: ProjectKeys) -> None:
    forget_paces()
    answer = estimate(client, dataset, **realm(n_epochs=4, batch_size=9, held_out_fraction=0.1))
    assert answer["object"] == "fine_tuning.job.estimate"
    assert (answer["n_items"], answer["n_labels"], answer["n_annotators"]) == (N_ITEMS, N_LABELS, 3)
    assert answer["steps"] == 4 * 6
    assert 5 * 9 * 24 < answer["tokens"] < 20 * 9 * 24, "the prompts have about ten tokens"
    assert 0 < answer["seconds"]["low"] < answer["seconds"]["high"]
    assert "no job with this model has finished here yet" in answer["based_on"]
    assert answer["memory_bytes"] > 4 * 5 * 22e6
    assert answer["resolved"]["likelihood"] == {"value": "joint", "why": "the best on our benchmarks"}
    assert "n_epochs" not in answer["resolved"], "it was given"
    with transaction() as session:
        assert job_queries.count_unfinished(session, project.id) == 0


def test_jobs_that_finished_here_say_how_long_the_next_takes(
    client: TestClient, dataset: str, project: ProjectKeys
) -> None:
    forget_paces()
    finish_job(project, dataset, 100)
    as_before = estimate(client, dataset, **realm(batch_size=10, max_steps=20))
    assert as_before["based_on"] == "the newest job of this model that succeeded here"
    assert as_before["seconds"]["low"] < 100 < as_before["seconds"]["high"] < 200
    tenfold = estimate(client, dataset, **realm(batch_size=10, max_steps=200))
    assert tenfold["seconds"]["low"] < 910 < tenfold["seconds"]["high"]
    finish_job(project, dataset, 400)
    varied = estimate(client, dataset, **realm(batch_size=10, max_steps=20))
    assert varied["seconds"]["low"] == as_before["seconds"]["low"]
    assert varied["seconds"]["high"] > 400


def test_the_time_budget_ends_training(client: TestClient, dataset: str, project: ProjectKeys) -> None:
    forget_paces()
    finish_job(project, dataset, 1000)
    answer = estimate(client, dataset, **realm(batch_size=10, max_steps=20, time_budget_seconds=50))
    assert answer["seconds"]["high"] < 300
    assert "time_budget" in {warning["code"] for warning in answer["warnings"]}


def test_truth_inference_without_a_model(client: TestClient, dataset: str) -> None:
    answer = estimate(client, dataset, model=None, method={"type": "aggregation"})
    assert (answer["model"], answer["steps"], answer["tokens"], answer["memory_bytes"]) == (None,) * 4
    assert answer["resolved"] == {}
    assert answer["seconds"]["high"] > 0


def test_what_cannot_be_learned(client: TestClient) -> None:
    rows = [{"prompt": f"text {n} " + "word " * 300, "annotator": "ana", "label": "yes"} for n in range(4)]
    dataset = client.post("/v1/datasets", json={"name": "one", "annotations": rows}).json()["id"]
    codes = {warning["code"]: warning["detail"] for warning in estimate(client, dataset)["warnings"]}
    assert {"one_annotator", "one_answer", "not_identifiable", "few_labels", "truncated"} <= codes.keys()
    assert "100%" in codes["truncated"]


def test_confusion_and_options_of_prompts_own(client: TestClient) -> None:
    rows = [
        {"prompt": f"question {n}", "options": ["red", "blue"], "annotator": name, "label": "red"}
        for n in range(3)
        for name in ("ana", "bo")
    ]
    dataset = client.post("/v1/datasets", json={"name": "quiz", "annotations": rows}).json()["id"]
    warnings = estimate(client, dataset, **realm(channel="confusion", expertise_update="em"))["warnings"]
    assert any(one["code"] == "not_identifiable" and "confusion" in one["detail"] for one in warnings)
    assert "not_identifiable" not in {one["code"] for one in estimate(client, dataset)["warnings"]}


@pytest.mark.parametrize(
    ("body", "status"), [({"model": "gpt-17"}, 422), ({"dataset": "ds_0"}, 404), ({"colour": "red"}, 422)]
)
def test_it_refuses_what_a_job_would_be_refused_for(
    client: TestClient, dataset: str, body: dict[str, Any], status: int
) -> None:
    sent = {"dataset": dataset, "model": "minilm"} | body
    asked, created = (client.post(path, json=sent) for path in (f"{JOBS}/estimate", JOBS))
    assert (asked.status_code, asked.json()["detail"]) == (status, created.json()["detail"])
    assert asked.json()["code"] == created.json()["code"]


def test_viewers_may_ask_and_others_find_nothing(
    client: TestClient, dataset: str, project: ProjectKeys, other_project: ProjectKeys
) -> None:
    body = {"dataset": dataset, "model": "minilm"}
    for key, status in ((project.viewer_key, 200), (other_project.admin_key, 404)):
        asked = client.post(f"{JOBS}/estimate", json=body, headers={"Authorization": f"Bearer {key}"})
        assert asked.status_code == status


def test_the_size_of_a_model_is_read_from_its_files() -> None:
    size = size_of("minilm", None)
    assert size is not None
    assert (size.layers, size.hidden, size.heads, size.family) == (6, 384, 12, "encoder")
    assert 22e6 < size.parameters < 23e6
    large = size_of("google/flan-t5-large", None)
    assert large is not None
    assert large.family == "seq2seq"
    assert size_of("nobody/knows", None) is None
    assert size_of("../etc", None) is None
