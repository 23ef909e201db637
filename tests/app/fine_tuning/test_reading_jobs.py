"""What is told of jobs: lists, progress, events, metrics, checkpoints, the log, and to whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from app.database import attempt_queries
from app.database.attempt_queries import NewCheckpoint, News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Dataset
from tests.app.fine_tuning.jobs_over_http import JOBS, add_dataset, claim, problem
from tests.conftest import ProjectKeys


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
