"""For everybody: no barriers by WCAG, by keyboard, and without scripts."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.browsing import Visit, log_in, needs_chromium
from tests.end_to_end.dashboard.site import PATIENCE_MS, UPLOADED, Site, choose_file, other_paths, report_paths
from tests.jobs import queue_job

pytestmark = needs_chromium


def test_the_report_is_read_without_scripts(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    log_in(context, site.url, site.project.viewer_key)
    page = context.new_page()
    page.goto(f"{site.url}/jobs/{site.job.id}")
    assert page.locator("tbody tr[id^=ann_]").count() == 9
    assert page.locator("tbody tr[id^=ann_] .interval .value").count() == 8
    page.goto(f"{site.url}/jobs/{queue_job(site.project.id).id}")
    expect(page.get_by_text("No worker is running")).to_be_visible()
    expect(page.get_by_text("Copy")).to_be_hidden()  # it would do nothing
    context.close()


def test_everything_can_be_reached_by_keyboard(report: Page) -> None:
    reached = set()
    for _ in range(150):
        report.keyboard.press("Tab")
        reached.add(report.evaluate("document.activeElement.innerText || document.activeElement.name"))
    assert {"Skip to the content", "REALM", "Log out", "name", "Show", "Expertise", "CSV", "Events"} <= reached


WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


def barriers(path: str, page: Page) -> list[tuple[str, str, list[str]]]:
    violations = Axe().run(page, options=WCAG).response["violations"]
    return [(path, one["id"], [node["target"] for node in one["nodes"]][:3]) for one in violations]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser: Browser, site: Site, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    log_in(context, site.url, site.project.admin_key)
    visit = Visit(context, site.url)
    found = []
    for path in [*other_paths(site), *report_paths(site)]:
        found += barriers(path, visit.open(path))
    choose_file(visit.open("/datasets/new"), UPLOADED)
    found += barriers("a chosen file", visit.page)
    context.clear_cookies()
    found += barriers("/login", visit.open("/login"))
    context.close()
    assert found == []
    assert visit.complaints == []


def test_axe_would_find_one(visit: Visit) -> None:
    page = visit.open("/")
    page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    violations = Axe().run(page, options=WCAG).response["violations"]
    assert "label" in {one["id"] for one in violations}
