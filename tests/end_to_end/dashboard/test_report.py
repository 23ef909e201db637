"""A report on screen: table and plots, search, the way to an annotator and to prompts, decisions, downloads."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.end_to_end.browsing import Visit, needs_chromium
from tests.end_to_end.dashboard.site import Site, plotted

pytestmark = needs_chromium


def test_the_report_has_a_table_and_a_plot_of_the_same_people(report: Page) -> None:
    rows = report.locator("#annotators ~ .scroll tbody tr")
    assert rows.count() == 9
    assert plotted(report) == 8  # newbie has too few labels
    expect(report.locator("#annotators-plot .ytick text")).to_have_count(8)
    expect(rows.nth(0).locator(".tag").first).to_have_text("Worse than chance")


def test_a_mark_says_whose_it_is(report: Page) -> None:
    plotted(report)
    first = report.locator("#annotators-plot .scatterlayer .point").first
    first.scroll_into_view_if_needed()
    mark = first.bounding_box()
    assert mark is not None
    report.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    label = report.locator("#annotators-plot .hoverlayer .hovertext")
    expect(label).to_contain_text("95 % interval")


def test_searching_and_sorting_work(report: Page) -> None:
    report.get_by_label("Name contains").fill("swap")
    report.get_by_role("button", name="Show", exact=True).click()
    expect(report.locator("tbody tr[id^=ann_] th")).to_have_text(["swap sam"])
    report.get_by_role("link", name="Show all").click()
    report.get_by_role("link", name="Labels", exact=True).click()
    expect(report.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    numbers = [int(text) for text in report.locator("td[data-label=Labels]").all_text_contents()]
    assert numbers == sorted(numbers, reverse=True)


def test_a_name_leads_to_its_annotator_and_a_cell_to_its_prompts(visit: Visit, site: Site) -> None:
    page = visit.open(f"/jobs/{site.dated_job.id}")
    page.get_by_role("link", name="swap sam").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("swap sam")
    assert plotted(page, "#periods-plot") > 5
    wrong = page.locator(".confusion tbody tr", has=page.get_by_role("rowheader", name="business")).locator("td").nth(1)
    wrong.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Said science where business is most probable")).to_be_in_viewport()
    assert page.get_by_text("about business").count() > 5
    page.get_by_role("link", name="All annotators of").click()
    expect(page.get_by_role("heading", name="Annotators")).to_be_in_viewport()


def test_downloads_come_with_their_name(report: Page, site: Site) -> None:
    with report.expect_download() as started:
        report.get_by_role("link", name="annotators as csv").click()
    assert started.value.suggested_filename == f"{site.job.id}-annotators.csv"


def test_the_queue_leads_to_a_prompt_and_to_who_voted(visit: Visit, site: Site) -> None:
    page = visit.open(f"/jobs/{site.job.id}/prompts")
    page.get_by_label("Text contains").fill("Headline 17 about")
    page.get_by_role("button", name="Show", exact=True).click()
    page.locator("a.prompt").click()
    expect(page.get_by_text("Headline 17 about")).to_be_visible()
    page.locator("section[aria-labelledby=votes] a").first.click()
    expect(page.get_by_role("heading", name="The most damaging labels")).to_be_visible()


def test_a_manager_reads_decides_and_looks_at_the_crowd(visit: Visit, site: Site) -> None:
    page = visit.open(f"/jobs/{site.dated_job.id}")
    people = page.locator("section", has=page.get_by_role("heading", name="Where to look first"))
    people.get_by_role("link", name="swap sam").click()
    page.get_by_label("Retrain").check()
    page.get_by_label("Why").fill("takes one for the other")
    page.get_by_role("button", name="Note it").click()
    expect(page.locator(".decisions li").first).to_contain_text("takes one for the other")
    page.get_by_role("link", name="Agreement", exact=True).click()
    page.wait_for_selector("#matrix-plot .heatmaplayer image")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download as CSV").first.click()
    assert started.value.suggested_filename == f"{site.dated_job.id}-confused-answers.csv"
    page.get_by_role("link", name="What if").click()
    page.get_by_label("swap sam").check()
    page.get_by_role("button", name="Work it out").click()
    expect(page.get_by_role("heading", name="Without swap sam")).to_be_visible()
