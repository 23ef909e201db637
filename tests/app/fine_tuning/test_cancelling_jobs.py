"""Cancelling jobs, and why they are not paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.database import attempt_queries
from app.database.session import transaction
from tests.app.fine_tuning.jobs_over_http import JOBS, claim, problem


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
