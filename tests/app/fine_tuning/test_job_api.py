"""/v1/fine_tuning/jobs: shapes, errors and who may do what."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, insert

from app.database import attempt_queries, dataset_queries
from app.database.attempt_queries import Claim, NewCheckpoint, News, Progress
from app.database.base import new_id
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Dataset, File
from app.queue import announce_worker, get_redis, live_workers, withdraw_worker
from app.settings import get_settings
from tests.conftest import ProjectKeys
from tests.jobs import events_of, finish_all_jobs, queue_job

JOBS = "/v1/fine_tuning/jobs"


def add_dataset(project: ProjectKeys, *, has_text: bool = True, n_versions: int = 1, **version: Any) -> Dataset:
    """A dataset as an upload leaves it, without its rows."""
    with transaction() as session:
        dataset = dataset_queries.add_dataset(session, new_id("ds_"), project.id, "crowd", has_text=has_text)
        facts = {"sha256": "0" * 64, "n_labels": 10, "n_items": 5, "n_annotators": 2, "counts": {}, "warnings": []}
        for number in range(1, n_versions + 1):
            dataset_queries.add_version(session, **(facts | {"dataset_key": dataset.key, "number": number} | version))
        return dataset


@pytest.fixture
def dataset(project: ProjectKeys) -> Dataset:
    return add_dataset(project)


@pytest.fixture
def create(client: TestClient, dataset: Dataset) -> Callable[..., dict[str, Any]]:
    """Starts a job by the API."""

    def create(**body: Any) -> dict[str, Any]:
        response = client.post(JOBS, json={"dataset": dataset.id, "model": "minilm"} | body)
        assert response.status_code == 201, response.text
        job: dict[str, Any] = response.json()
        return job

    return create


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


def test_another_project_s_data_and_jobs_are_not_there(
    client: TestClient, other_project: ProjectKeys, create: Callable[..., dict[str, Any]]
) -> None:
    theirs = add_dataset(other_project)
    assert problem(client.post(JOBS, json={"dataset": theirs.id, "model": "minilm"}), 404)["code"] == "not_found"
    job = create()
    key = {"Authorization": f"Bearer {other_project.admin_key}"}
    for path in ("", "/events", "/checkpoints", "/metrics", "/log"):
        body = problem(client.get(f"{JOBS}/{job['id']}{path}", headers=key), 404)
        assert body["detail"] == f"There is no job '{job['id']}'."
    for verb in ("cancel", "pause", "resume"):
        problem(client.post(f"{JOBS}/{job['id']}/{verb}", headers=key), 404)
    assert client.get(JOBS, headers=key).json()["data"] == []
    problem(client.get(JOBS, params={"after": job["id"]}, headers=key), 404)


def test_a_viewer_reads_but_starts_and_cancels_nothing(
    client: TestClient, project: ProjectKeys, create: Callable[..., dict[str, Any]], dataset: Dataset
) -> None:
    job = create()
    key = {"Authorization": f"Bearer {project.viewer_key}"}
    assert client.get(f"{JOBS}/{job['id']}", headers=key).status_code == 200
    problem(client.post(JOBS, json={"dataset": dataset.id, "model": "minilm"}, headers=key), 403)
    problem(client.post(f"{JOBS}/{job['id']}/cancel", headers=key), 403)
    assert client.get(f"{JOBS}/{job['id']}").json()["status"] == "queued"


def test_pages_of_jobs(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    ids = [create()["id"] for _ in range(5)]
    first = client.get(JOBS, params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == [ids[4], ids[3]]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[4], ids[3])
    last = client.get(JOBS, params={"limit": 3, "after": ids[3]}).json()
    assert [job["id"] for job in last["data"]] == [ids[2], ids[1], ids[0]]
    assert last["has_more"] is False
    oldest = client.get(JOBS, params={"limit": 2, "order": "asc", "after": ids[0]}).json()
    assert [job["id"] for job in oldest["data"]] == [ids[1], ids[2]]


def test_jobs_of_one_status(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    waiting, running = create(), create()
    claim(running)
    listed = client.get(JOBS, params={"status": "running"}).json()["data"]
    assert [job["id"] for job in listed] == [running["id"]]
    assert [job["id"] for job in client.get(JOBS, params={"status": "queued"}).json()["data"]] == [waiting["id"]]
    problem(client.get(JOBS, params={"status": "done"}), 422)


def test_a_running_job_shows_how_far_it_is(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    job = create()
    attempt = claim(job)
    with transaction() as session:
        resolved = {"n_epochs": {"value": 3, "why": "the default"}}
        progress = Progress("training", 30, 100, 25.5, 60, {"training": {"seconds": 9.0, "steps": 30}})
        attempt_queries.record(session, attempt, News(progress=progress, resolved=resolved))
    shown = client.get(f"{JOBS}/{job['id']}").json()
    assert (shown["status"], shown["attempt"], shown["queue_position"]) == ("running", 1, None)
    eta = shown["progress"].pop("eta_at")
    assert abs(eta - time.time() - 60) < 5
    assert shown["estimated_finish"] == eta
    assert shown["progress"].pop("pace") == {"training": {"seconds": 9.0, "steps": 30}}
    assert shown["progress"] == {"phase": "training", "step": 30, "total_steps": 100, "percent": 25.5}
    assert shown["method"]["realm"]["resolved"] == resolved


def test_cancelling(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    queued = create()
    cancelled = client.post(f"{JOBS}/{queued['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"] is not None
    assert cancelled["error"] == {
        "code": "cancelled_by_user",
        "message": "Cancelled by the user.",
        "param": None,
    }
    body = problem(client.post(f"{JOBS}/{queued['id']}/cancel"), 409)
    assert body["detail"] == "The job has already been cancelled."

    running = create()
    attempt = claim(running)
    asked = client.post(f"{JOBS}/{running['id']}/cancel").json()
    assert asked["status"] == "running"
    assert asked["cancel_requested_at"] is not None
    assert client.post(f"{JOBS}/{running['id']}/cancel").json() == asked
    with transaction() as session:
        attempt_queries.finish_cancelled(session, attempt)
    assert client.get(f"{JOBS}/{running['id']}").json()["status"] == "cancelled"


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_finished_job_cannot_be_cancelled(
    client: TestClient, create: Callable[..., dict[str, Any]], end: str
) -> None:
    job = create()
    attempt = claim(job)
    with transaction() as session:
        if end == "succeeded":
            attempt_queries.succeed(session, attempt, None)
        else:
            attempt_queries.fail(session, attempt, "diverged", "Use a smaller learning_rate.")
    body = problem(client.post(f"{JOBS}/{job['id']}/cancel"), 409)
    assert (body["code"], body["detail"]) == ("job_finished", f"The job has already {end}.")
    shown = client.get(f"{JOBS}/{job['id']}").json()
    error = {"code": "diverged", "message": "Use a smaller learning_rate.", "param": None}
    assert shown["error"] == (error if end == "failed" else None)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pausing_is_refused_with_a_reason(client: TestClient, create: Callable[..., dict[str, Any]], verb: str) -> None:
    body = problem(client.post(f"{JOBS}/{create()['id']}/{verb}"), 409)
    assert body["code"] == "pause_not_supported"
    assert "goes on by itself" in body["detail"]


def test_pages_of_events(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    job = create()
    attempt = claim(job)
    with transaction() as session:
        news = News(tuple(NewEvent(f"event {number}") for number in range(3, 8)))
        attempt_queries.record(session, attempt, news)
    events = f"{JOBS}/{job['id']}/events"
    newest = client.get(events, params={"limit": 3}).json()
    assert [event["number"] for event in newest["data"]] == [7, 6, 5]
    assert newest["has_more"] is True
    next_page = client.get(events, params={"limit": 3, "after": newest["last_id"]}).json()
    assert [event["number"] for event in next_page["data"]] == [4, 3, 2]
    from_two = client.get(events, params={"order": "asc", "after": "2", "limit": 100}).json()
    assert [event["message"] for event in from_two["data"]] == [f"event {number}" for number in range(3, 8)]
    assert from_two["has_more"] is False
    problem(client.get(events, params={"after": "yesterday"}), 404)


def test_metrics_as_arrays_where_a_later_attempt_overwrites_a_step(
    client: TestClient, create: Callable[..., dict[str, Any]]
) -> None:
    job = create()
    attempt = claim(job)
    with transaction() as session:
        told = [(1, {"train_loss": 0.9}), (2, {"train_loss": 0.8, "held_out": -3}), (2, {"train_loss": 0.7})]
        events = tuple(NewEvent("s", type="metrics", data={"step": step, **values}) for step, values in told)
        attempt_queries.record(session, attempt, News(events))
    assert client.get(f"{JOBS}/{job['id']}/metrics").json() == {
        "object": "fine_tuning.job.metrics",
        "metrics": {
            "train_loss": {"step": [1, 2], "value": [0.9, 0.7]},
            "held_out": {"step": [2], "value": [-3]},
        },
    }


def test_checkpoints_newest_first(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    job = create()
    attempt = claim(job)
    checkpoints = tuple(NewCheckpoint(f"{job['id']}-{step}", step, {"loss": 1.0}, "a/b") for step in (5, 10, 15))
    with transaction() as session:
        attempt_queries.record(session, attempt, News(checkpoints=checkpoints))
        attempt_queries.mark_files_gone(session, [f"{job['id']}-5"])
    page = client.get(f"{JOBS}/{job['id']}/checkpoints", params={"limit": 2}).json()
    assert [(row["step_number"], row["stored"]) for row in page["data"]] == [(15, True), (10, True)]
    assert page["data"][0]["fine_tuning_job_id"] == job["id"]
    rest = client.get(f"{JOBS}/{job['id']}/checkpoints", params={"after": page["last_id"]}).json()
    assert [(row["step_number"], row["stored"]) for row in rest["data"]] == [(5, False)]
    problem(client.get(f"{JOBS}/{job['id']}/checkpoints", params={"after": "ftckpt_x"}), 404)


def test_the_log(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    job = create()
    attempt = claim(job)
    with transaction() as session:
        attempt_queries.keep_log_tail(session, attempt, "Traceback …\n<b>boom</b>")
    response = client.get(f"{JOBS}/{job['id']}/log")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == "Traceback …\n<b>boom</b>"


def stream(client: TestClient, job_id: str, **headers: str) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Everything that a follower hears: name, id and object."""
    response = client.get(f"{JOBS}/{job_id}/events", headers={"Accept": "text/event-stream"} | headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    told = []
    for block in response.text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
        told.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return told


def test_a_stream_tells_all_and_ends_with_the_job(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    job = create()

    def work() -> None:
        time.sleep(0.3)
        attempt = claim(job)
        time.sleep(0.7)
        with transaction() as session:
            attempt_queries.record(session, attempt, News((NewEvent("half way"),)))
        time.sleep(0.7)
        with transaction() as session:
            attempt_queries.succeed(session, attempt, None)

    worker = threading.Thread(target=work)
    worker.start()
    told = stream(client, job["id"])
    worker.join()
    numbers = [id_ for name, id_, _ in told if name == "event"]
    assert numbers == ["1", "2", "3", "4"]
    assert [one["message"] for name, _, one in told if name == "event"][2:] == ["half way", "The job succeeded"]
    statuses = [one["status"] for name, _, one in told if name == "job"]
    assert list(dict.fromkeys(statuses)) == ["queued", "running", "succeeded"]
    assert told[-1][0] == "job"


def test_a_stream_goes_on_after_the_last_event_id(client: TestClient, create: Callable[..., dict[str, Any]]) -> None:
    job = create()
    client.post(f"{JOBS}/{job['id']}/cancel")
    told = stream(client, job["id"], **{"Last-Event-ID": "1"})
    assert [(name, id_) for name, id_, _ in told] == [("event", "2"), ("job", None)]
    event_id = told[0][2]["id"]
    assert [name for name, _, _ in stream(client, job["id"], **{"Last-Event-ID": event_id})] == ["job"]


def test_a_stream_longer_than_a_look_has_no_gaps(project: ProjectKeys, client: TestClient) -> None:
    job = queue_job(project.id)
    with transaction() as session:
        attempt = attempt_queries.claim_job(session, job.id, "worker-1", 60)
        assert attempt is not None
        news = News(tuple(NewEvent(str(number)) for number in range(1200)))
        attempt_queries.record(session, attempt, news)
        attempt_queries.succeed(session, attempt, None)
    told = stream(client, job.id)
    assert [int(id_ or 0) for name, id_, _ in told if name == "event"] == list(range(1, 1204))
    assert len(events_of(job)) == 1203


def test_an_unknown_job_is_refused_before_a_stream_begins(client: TestClient) -> None:
    problem(client.get(f"{JOBS}/ftjob-0/events", headers={"Accept": "text/event-stream"}), 404)
