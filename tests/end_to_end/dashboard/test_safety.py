"""Nothing runs that should not, and who has logged out sees nothing."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, expect

from tests.end_to_end.browsing import Visit, needs_chromium
from tests.end_to_end.dashboard.site import Site, plotted
from tests.finished_jobs import RIGHT_TO_LEFT_NAME, SCRIPT_NAME

pytestmark = needs_chromium


def test_the_watch_notices_what_may_not_happen(context: BrowserContext, site: Site) -> None:
    """Or else all the other tests could not fail."""
    visit = Visit(context, site.url)
    page = visit.open("/")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))")
    page.evaluate("setTimeout(() => alert(1))")
    page.evaluate("setTimeout(() => { throw new Error('thrown') })")
    page.evaluate("fetch('http://localhost:1/elsewhere').catch(() => {})")
    page.wait_for_timeout(300)
    said = "\n".join(visit.complaints)
    for sign in ("Executing inline script violates", "dialog: 1", "script error: thrown", "Refused to connect"):
        assert sign in said


def test_names_that_try_to_be_html_are_shown_as_they_are(report: Page) -> None:
    plotted(report)
    ticks = report.locator("#annotators-plot .ytick text").all_text_contents()
    assert "<script>alert('name')</…" in ticks
    assert "eve" in ticks  # its control character would turn the whole line around
    expect(report.get_by_role("rowheader", name=SCRIPT_NAME)).to_be_visible()
    assert report.locator("th bdi", has_text=RIGHT_TO_LEFT_NAME).count() == 1


def test_logging_out_closes_the_door(context: BrowserContext, visit: Visit, site: Site) -> None:
    page = visit.open("/")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    other = context.new_page()
    other.goto(f"{site.url}/jobs/{site.job.id}")
    expect(other.get_by_label("API key")).to_be_visible()
    other.get_by_label("API key").fill(site.project.viewer_key)
    other.get_by_role("button", name="Log in").click()
    expect(other.get_by_role("heading", name="Annotators")).to_be_visible()
