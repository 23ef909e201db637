"""POST /v1/fine_tuning/jobs: what a new job is, which data it pins, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, insert

from app.database import dataset_queries
from app.database.base import new_id
from app.database.session import transaction
from app.database.tables import Dataset, File
from app.queue import announce_worker, get_redis, live_workers, withdraw_worker
from app.settings import get_settings
from tests.app.fine_tuning.jobs_over_http import JOBS, add_dataset, problem
from tests.conftest import ProjectKeys
from tests.jobs import finish_all_jobs


def test_a_new_job_in_openai_s_shape(create: Callable[..., dict[str, Any]], dataset: Dataset) -> None:
    finish_all_jobs()
    for worker in live_workers():  # one that another test killed
        withdraw_worker(worker)
    body = {
        "method": {"type": "realm", "realm": {"hyperparameters": {"n_epochs": 2, "channel": "scalar"}}},
        "seed": 7,
        "suffix": "spam",
        "metadata": {"team": "trust"},
    }
    job = create(**body)
    created, id_ = job.pop("created_at"), job.pop("id")
    assert abs(created - time.time()) < 5
    assert id_.startswith("ftjob-")
    assert job.pop("organization_id").startswith("proj_")
    assert job == {
        "object": "fine_tuning.job",
        "started_at": None,
        "finished_at": None,
        "estimated_finish": None,
        "model": "minilm",
        "fine_tuned_model": None,
        "dataset": {"id": dataset.id, "version": 1},
        "training_file": None,
        "validation_file": None,
        "status": "queued",
        "method": {
            "type": "realm",
            "realm": {"hyperparameters": {"n_epochs": 2, "channel": "scalar"}, "resolved": None},
        },
        "hyperparameters": {"n_epochs": 2, "channel": "scalar"},
        "seed": 7,
        "suffix": "spam",
        "metadata": {"team": "trust"},
        "progress": None,
        "attempt": 0,
        "queue_position": 1,
        "waiting_for": "no worker is alive",
        "cancel_requested_at": None,
        "error": None,
        "summary": None,
        "result_files": [],
        "integrations": [],
        "trained_tokens": None,
    }


def test_the_queue_hears_of_a_job_after_it_is_there(create: Callable[..., dict[str, Any]]) -> None:
    get_redis().delete("realm")
    job = create()
    (message,) = get_redis().lrange("realm", 0, -1)
    assert job["id"] in message
    assert "minilm" not in message


def test_a_live_worker_is_not_waited_for(create: Callable[..., dict[str, Any]], client: TestClient) -> None:
    announce_worker("test", {}, 10)
    try:
        assert create()["waiting_for"] is None
    finally:
        withdraw_worker("test")


def test_a_broker_that_is_away_is_named_and_the_job_kept(
    create: Callable[..., dict[str, Any]], client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget() -> None:
        from app.queue import get_celery

        for cached in (get_settings, get_celery, get_redis):
            cached.cache_clear()

    with monkeypatch.context() as away:
        away.setenv("REALM_REDIS_URL", "redis://127.0.0.1:1/0")
        forget()
        job = create()
        assert job["waiting_for"] == "the message broker is out of reach"
    forget()
    assert client.get(f"{JOBS}/{job['id']}").json()["status"] == "queued"


def test_a_job_pins_the_newest_version_or_the_one_that_is_named(client: TestClient, project: ProjectKeys) -> None:
    dataset = add_dataset(project, n_versions=3)
    for name, version in ((dataset.id, 3), (f"{dataset.id}@2", 2)):
        job = client.post(JOBS, json={"dataset": name, "model": "minilm"}).json()
        assert job["dataset"] == {"id": dataset.id, "version": version}
    body = problem(client.post(JOBS, json={"dataset": f"{dataset.id}@4", "model": "minilm"}), 404)
    assert body["detail"] == f"Dataset {dataset.id} has no version 4."


def test_a_file_names_its_version_for_ever(client: TestClient, project: ProjectKeys) -> None:
    dataset = add_dataset(project, n_versions=2)
    file = {"id": new_id("file-"), "project_id": project.id, "dataset_id": dataset.id, "dataset_version": 1}
    with transaction() as session:
        session.execute(insert(File).values(**file, filename="a.csv", purpose="fine-tune", n_bytes=10))
    job = client.post(JOBS, json={"training_file": file["id"], "model": "minilm"}).json()
    assert (job["training_file"], job["dataset"]) == (file["id"], {"id": dataset.id, "version": 1})
    assert client.get(f"{JOBS}/{job['id']}").json()["training_file"] == file["id"]
    body = problem(client.post(JOBS, json={"training_file": "file-0", "model": "minilm"}), 404)
    assert body["error"]["param"] == "training_file"


def test_a_dataset_that_is_being_deleted_gets_no_job(client: TestClient, dataset: Dataset) -> None:
    with ThreadPoolExecutor(1) as pool:
        with transaction() as session:
            dataset_queries.lock_for_deletion(session, dataset)
            session.execute(delete(Dataset).where(Dataset.key == dataset.key))
            answer = pool.submit(client.post, JOBS, json={"dataset": dataset.id, "model": "minilm"})
            with pytest.raises(TimeoutError):
                answer.result(0.3)
        problem(answer.result(10), 404)


def test_a_seed_is_drawn_and_shown(create: Callable[..., dict[str, Any]]) -> None:
    seeds = {create()["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_an_upload_warned_of_is_told_again(client: TestClient, project: ProjectKeys) -> None:
    warning = {"code": "one_annotator", "detail": "One annotator only: expertise cannot be told."}
    dataset = add_dataset(project, warnings=[warning])
    job = client.post(JOBS, json={"dataset": dataset.id, "model": "minilm"}).json()
    events = client.get(f"{JOBS}/{job['id']}/events", params={"order": "asc"}).json()["data"]
    assert [(event["level"], event["message"]) for event in events] == [
        ("info", "The job is queued"),
        ("warn", "One annotator only: expertise cannot be told."),
    ]


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        (
            {"method": {"type": "realm", "realm": {"hyperparameters": {"n_epoch": 1}}}},
            "method.realm.hyperparameters.n_epoch",
            "not permitted",
        ),
        (
            {"method": {"type": "realm", "realm": {"hyperparameters": {"weight_decay": -1}}}},
            "method.realm.hyperparameters.weight_decay",
            "greater than or equal to 0",
        ),
        (
            {"method": {"type": "realm", "realm": {"hyperparameters": {"learning_rate": "fast"}}}},
            "method.realm.hyperparameters.learning_rate",
            "method.realm.hyperparameters.learning_rate: Input should be 'auto'",
        ),
        ({"method": {"type": "magic"}}, "method.type", "'realm', 'supervised' or 'aggregation'"),
        ({"method": {"type": "realm", "supervised": {}}}, "method", "settings of supervised must not be given"),
        ({"colour": "red"}, "colour", "not permitted"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"suffix": "a b"}, "suffix", "match pattern"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "at most 16"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "at most 512"),
        ({"training_file": "file-1"}, None, "exactly one of dataset and training_file"),
        ({"dataset": None}, None, "exactly one of dataset and training_file"),
        ({"dataset": "ds_1@0"}, "dataset", "match pattern"),
        ({"model": None}, "model", "Name the base model to fine-tune: minilm, google/flan-t5-small"),
        ({"model": "../../etc"}, "model", "'../../etc' may not be fine-tuned here. Allowed: minilm,"),
    ],
)
def test_a_request_that_is_refused(
    client: TestClient, dataset: Dataset, change: dict[str, Any], param: str | None, says: str
) -> None:
    request = {"dataset": dataset.id, "model": "minilm"} | change
    body = problem(client.post(JOBS, json={key: value for key, value in request.items() if value is not None}), 422)
    assert body["error"]["param"] == param
    assert says in body["detail"]
    assert client.get(JOBS).json()["data"] == []


def test_an_unknown_hyperparameter_is_named_by_its_path(client: TestClient, dataset: Dataset) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"learning_rat": 1e-3}}}
    body = problem(client.post(JOBS, json={"dataset": dataset.id, "model": "minilm", "method": method}), 422)
    assert body["error"]["param"] == "method.supervised.hyperparameters.learning_rat"


def test_a_folder_of_the_models_folder_may_be_fine_tuned(
    client: TestClient, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "ours").mkdir()
    monkeypatch.setenv("REALM_MODELS_DIR", str(tmp_path))
    get_settings.cache_clear()
    try:
        assert client.post(JOBS, json={"dataset": dataset.id, "model": "ours"}).status_code == 201
        problem(client.post(JOBS, json={"dataset": dataset.id, "model": "."}), 422)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_without_text_only_aggregation_is_possible(client: TestClient, project: ProjectKeys) -> None:
    dataset = add_dataset(project, has_text=False)
    body = problem(client.post(JOBS, json={"dataset": dataset.id, "model": "minilm"}), 422)
    assert (body["code"], body["error"]["param"]) == ("invalid_training_file", "method.type")
    job = client.post(JOBS, json={"dataset": dataset.id, "method": {"type": "aggregation"}}).json()
    assert (job["status"], job["model"]) == ("queued", None)
