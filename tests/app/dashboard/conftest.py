"""A logged-in browser, and one finished job that the tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.app.dashboard.browser import Browser
from tests.conftest import ProjectKeys, Services, make_project
from tests.finished_jobs import FinishedJob, crowd_rows, finish_job, upload


@pytest.fixture
def browser(client: TestClient, project: ProjectKeys) -> Browser:
    return Browser(client, project.admin_key)


@pytest.fixture(scope="package")
def finished(services: Services) -> Iterator[tuple[Browser, FinishedJob]]:
    from app.main import create_app

    project = make_project()
    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(create_app(), base_url="http://localhost", headers=headers) as client:
        job = finish_job(project.id, upload(client, crowd_rows(), "news & <b>views</b>"), suffix="first")
        yield Browser(client, project.editor_key), job
