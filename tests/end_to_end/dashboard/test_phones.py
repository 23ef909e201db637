"""Every page on a phone, in light and dark."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import Browser

from tests.end_to_end.browsing import Visit, log_in, needs_chromium
from tests.end_to_end.dashboard.site import UPLOADED, Site, choose_file, other_paths, plotted, report_paths
from tests.jobs import queue_job

pytestmark = needs_chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_in_light_and_dark(browser: Browser, site: Site, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 800})
    log_in(context, site.url, site.project.admin_key)
    visit = Visit(context, site.url)
    for path in ("/", f"/jobs/{site.job.id}", f"/jobs/{queue_job(site.project.id).id}", "/docs"):
        page = visit.open(path)
        if path.endswith(site.job.id):
            plotted(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        red = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
        assert (int(red) < 128) == (scheme == "dark")
    context.close()
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_new_pages_fit_a_phone(browser: Browser, site: Site, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 800})
    log_in(context, site.url, site.project.admin_key)
    visit = Visit(context, site.url)
    paths = [
        "/datasets",
        "/datasets/new",
        f"/datasets/{site.job.dataset_id}",
        f"/jobs/{site.job.id}/prompts",
        "/models",
    ]
    for path in paths:
        page = visit.open(path)
        if path.endswith("/new"):
            choose_file(page, UPLOADED)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, path
    context.close()
    assert visit.complaints == []


def test_every_page_fits_a_phone(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 800})
    log_in(context, site.url, site.project.admin_key)
    visit = Visit(context, site.url)
    for path in [*other_paths(site), *report_paths(site)]:
        page = visit.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    context.close()
    assert visit.complaints == []
