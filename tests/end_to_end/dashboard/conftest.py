"""A finished job behind a real server, and pages of it in Chromium on which nothing may go wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page

from tests.app.world import add_model
from tests.conftest import Services, make_project
from tests.end_to_end.browsing import Visit, chromium, log_in, serving
from tests.end_to_end.dashboard.site import PATIENCE_MS, Site
from tests.finished_jobs import crowd_rows, dated_rows, finish_job, upload


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def site(services: Services, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from app.main import create_app

    application = create_app()
    project = make_project()
    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(application, base_url="http://localhost", headers=headers) as client:
        job = finish_job(project.id, upload(client, crowd_rows(), "headlines & <b>views</b>"), suffix="first")
        dated_job = finish_job(project.id, upload(client, dated_rows(), "dated"), suffix="dated")
    model_id = add_model(dated_job.id, tmp_path_factory.mktemp("model"))
    with serving(application) as url:
        yield Site(url, project, job, dated_job, model_id)


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    log_in(context, site.url, site.project.admin_key)
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, site: Site) -> Iterator[Visit]:
    """A page on which nothing may go wrong."""
    visit = Visit(context, site.url)
    yield visit
    assert visit.complaints == []


@pytest.fixture
def report(visit: Visit, site: Site) -> Page:
    return visit.open(f"/jobs/{site.job.id}")
