"""The first page: what it says when there is nothing yet, and the list of jobs."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from tests.app.dashboard.browser import Browser, text_of
from tests.conftest import ProjectKeys
from tests.finished_jobs import crowd_rows, upload
from tests.jobs import queue_job


def test_an_empty_project_says_what_to_do(browser: Browser) -> None:
    page = text_of(browser.open("/"))
    assert "Nothing here yet" in page
    assert "realm upload labels.csv" in page
    assert "realm train ds_… --wait" in page


def test_a_dataset_without_jobs_says_how_to_train_on_it(
    browser: Browser, client: TestClient, project: ProjectKeys
) -> None:
    client.headers["Authorization"] = f"Bearer {project.admin_key}"
    dataset = upload(client, crowd_rows()[:20], "first labels")
    page = text_of(browser.open("/"))
    assert "No job yet" in page
    assert f"realm train {dataset} --wait" in page
    assert "first labels" in page


def test_the_first_page_lists_jobs_page_by_page(browser: Browser, project: ProjectKeys) -> None:
    jobs = [queue_job(project.id, suffix=f"job-{n}") for n in range(22)]
    first = browser.open("/")
    assert f'href="/jobs/{jobs[-1].id}"' in first
    assert f'href="/jobs/{jobs[1].id}"' not in first
    (after,) = re.findall(r'href="/\?after=([^"]+)"', first)
    second = browser.open("/", after=after)
    assert f'href="/jobs/{jobs[1].id}"' in second
    assert f'href="/jobs/{jobs[-1].id}"' not in second
