"""An annotator's own key in Chromium: from the button on their page to what they see with it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.end_to_end.browsing import Visit, needs_chromium
from tests.end_to_end.dashboard.site import PATIENCE_MS, Site
from tests.end_to_end.dashboard.test_barriers import WCAG

pytestmark = needs_chromium


def test_an_admin_gives_an_annotator_a_key_and_takes_it_back(browser: Browser, visit: Visit, site: Site) -> None:
    page = visit.open(f"/jobs/{site.job.id}")
    page.locator("tbody tr[id^=ann_]").get_by_role("link", name="swap sam").click()
    page.get_by_label("It ends").select_option("after 30 days")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A key for swap sam")
    assert Axe().run(page, options=WCAG).response["violations"] == []
    secret = page.locator(".command code").inner_text()
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

    context = browser.new_context(viewport={"width": 360, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    own = Visit(context, site.url)
    own.page.goto(f"{site.url}/login")
    own.page.get_by_label("API key").fill(secret)
    own.page.get_by_role("button", name="Log in").click()
    own.page.get_by_role("link", name="first").click()
    expect(own.page.get_by_role("heading", level=1)).to_have_text("swap sam")
    expect(own.page.get_by_text("A key of their own")).to_have_count(0)
    assert own.complaints == []

    page.get_by_role("link", name="Back to swap sam").click()
    keys = page.locator("section", has=page.get_by_role("heading", name="A key of their own"))
    assert secret not in page.content()
    keys.get_by_role("button", name="Revoke").click()
    expect(keys.get_by_text("revoked")).to_be_visible()
    own.page.reload()
    expect(own.page.get_by_label("API key")).to_be_visible()
    context.close()
