"""Following a job as a stream of server-sent events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from app.database import attempt_queries
from app.database.attempt_queries import News
from app.database.job_queries import NewEvent
from app.database.session import transaction
from tests.app.fine_tuning.jobs_over_http import JOBS, claim, problem
from tests.conftest import ProjectKeys
from tests.jobs import events_of, queue_job


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
