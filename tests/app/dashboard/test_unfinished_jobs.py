"""The page of a job that waits, runs, was cancelled or failed: what it says, and its button that cancels."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import func, update

from app.database import attempt_queries
from app.database.attempt_queries import Claim, News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job
from tests.app.dashboard.browser import HTML, Browser, text_of, token_on
from tests.conftest import ProjectKeys
from tests.jobs import queue_job, reload


def running_job(project: ProjectKeys, **values: Any) -> tuple[Job, Claim]:
    job = queue_job(project.id, **values)
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "a worker", 60)
        assert claim is not None
    return job, claim


def set_job(job: Job, **values: Any) -> None:
    with transaction() as session:
        session.execute(update(Job).where(Job.key == job.key).values(**values))


def test_a_waiting_job_says_what_it_waits_for(browser: Browser, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    page = text_of(browser.open(f"/jobs/{job.id}"))
    assert "Waiting for a worker" in page
    assert "No worker is running, so nothing will start" in page
    assert "realm worker" in page
    assert "The job is queued" in page


def test_a_running_job_shows_how_far_it_is(browser: Browser, project: ProjectKeys) -> None:
    job, claim = running_job(project)
    with transaction() as session:
        news = News(progress=Progress("training", 30, 120, 32.4, 90.0), events=(NewEvent("A sign of life"),))
        attempt_queries.record(session, claim, news)
    page = browser.open(f"/jobs/{job.id}")
    assert '<progress max="100" value="32.4"' in page
    assert "Training" in text_of(page)
    assert "30 of 120" in page
    assert re.search(r"Time left, about\s+1 min (2\d|3[01]) s", text_of(page))
    assert "A sign of life" in page
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page


def test_cancel_ends_a_queued_job(browser: Browser, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    page = browser.press(browser.open(f"/jobs/{job.id}"), f"/jobs/{job.id}/cancel")
    assert "The job was cancelled" in page
    assert reload(job).status == "cancelled"


def test_cancel_of_a_running_job_waits_for_its_end(browser: Browser, project: ProjectKeys) -> None:
    job, claim = running_job(project)
    page = browser.press(browser.open(f"/jobs/{job.id}"), f"/jobs/{job.id}/cancel")
    assert "Cancelling" in text_of(page)
    assert "Yes, cancel it" not in page
    with transaction() as session:
        attempt_queries.finish_cancelled(session, claim)
    assert "The job was cancelled" in browser.open(f"/jobs/{job.id}")


def test_cancel_needs_the_token_of_the_session(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    answer = client.post(f"/jobs/{job.id}/cancel", data={"csrf_token": "guessed"}, headers=HTML)
    assert answer.status_code == 403
    assert reload(job).status == "queued"


def test_a_viewer_has_no_cancel_button_and_may_not_use_it(client: TestClient, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    page = Browser(client, project.viewer_key).open(f"/jobs/{job.id}")
    assert "Yes, cancel it" not in page
    token = token_on(page)
    answer = client.post(f"/jobs/{job.id}/cancel", data={"csrf_token": token}, headers=HTML)
    assert answer.status_code == 403
    assert reload(job).status == "queued"


def test_cancelling_what_has_ended_says_so_on_a_page(
    browser: Browser, project: ProjectKeys, client: TestClient
) -> None:
    job = queue_job(project.id)
    token = token_on(browser.open(f"/jobs/{job.id}"))
    set_job(job, status="failed", finished_at=func.now())
    answer = client.post(f"/jobs/{job.id}/cancel", data={"csrf_token": token}, headers=HTML)
    assert answer.status_code == 409
    assert "already failed" in text_of(answer.text)


def test_a_failed_job_says_why_and_how_to_start_again(browser: Browser, project: ProjectKeys) -> None:
    job, claim = running_job(project)
    with transaction() as session:
        attempt_queries.fail(session, claim, "out_of_memory", "Out of memory: set a smaller <batch_size>.")
    page = browser.open(f"/jobs/{job.id}")
    assert "The job failed" in page
    assert "Out of memory: set a smaller &lt;batch_size&gt;." in page
    assert "out_of_memory" in page
    assert f"/v1/fine_tuning/jobs/{job.id}/log" in page
