"""The dashboard in Chromium: tables and plots, live progress, cancel, log out, hostile names, every width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.database import attempt_queries
from app.database.attempt_queries import Claim, News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job
from app.fine_tuning.service import cancel_job
from tests.app.world import add_model
from tests.conftest import ProjectKeys, Services, make_project
from tests.end_to_end.browsing import CHROMIUM, Visit, chromium, log_in, serving
from tests.finished_jobs import RIGHT_TO_LEFT_NAME, SCRIPT_NAME, FinishedJob, crowd_rows, dated_rows, finish_job, upload
from tests.jobs import queue_job, reload

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium")

PATIENCE_MS = 10_000


@dataclass(frozen=True)
class Site:
    """The application behind a real server, with a project that has a finished job."""

    url: str
    project: ProjectKeys
    job: FinishedJob
    dated_job: FinishedJob
    model_id: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
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


def plotted(page: Page, plot: str = "#annotators-plot") -> int:
    """The number of marks in a plot that has been drawn."""
    page.wait_for_selector(f"{plot} .main-svg")
    return page.locator(f"{plot} .scatterlayer .point").count()


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


def test_the_report_has_a_table_and_a_plot_of_the_same_people(report: Page) -> None:
    rows = report.locator("#annotators ~ .scroll tbody tr")
    assert rows.count() == 9
    assert plotted(report) == 8  # newbie has too few labels
    expect(report.locator("#annotators-plot .ytick text")).to_have_count(8)
    expect(rows.nth(0).locator(".tag").first).to_have_text("Worse than chance")


def test_names_that_try_to_be_html_are_shown_as_they_are(report: Page) -> None:
    plotted(report)
    ticks = report.locator("#annotators-plot .ytick text").all_text_contents()
    assert "<script>alert('name')</…" in ticks
    assert "eve" in ticks  # its control character would turn the whole line around
    expect(report.get_by_role("rowheader", name=SCRIPT_NAME)).to_be_visible()
    assert report.locator("th bdi", has_text=RIGHT_TO_LEFT_NAME).count() == 1


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


def test_a_running_job_is_followed_to_its_end(visit: Visit, site: Site) -> None:
    job = queue_job(site.project.id)
    page = visit.open(f"/jobs/{job.id}")
    expect(page.get_by_role("heading", name="Waiting for a worker")).to_be_visible()
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "a worker", 60)
        assert claim is not None
    expect(page.locator(".status")).to_contain_text("Running")
    for step in (10, 20):
        measured = {"step": step, "train_loss": 1 / step, "probability": [0.5, step / 30]}
        events = (NewEvent(f"Step {step} done"), NewEvent("measured", type="metrics", data=measured))
        progress = Progress("training", step, 40, 2.0 * step, 60.0)
        with transaction() as session:
            attempt_queries.record(session, claim, News(events=events, progress=progress))
        expect(page.locator("[data-show=step]")).to_have_text(f"{step} of 40")
        expect(page.locator("[data-show=percent]")).to_have_text(f"{2 * step} %")
        expect(page.locator("#log li").first).to_contain_text(f"Step {step} done")
    page.wait_for_selector("#loss-plot .main-svg")
    page.wait_for_selector("#trajectories-plot .main-svg")
    assert page.locator("#trajectories-plot .scatterlayer .js-line").count() == 2
    with transaction() as session:
        attempt_queries.fail(session, claim, "diverged", "Training diverged: use a smaller learning_rate.")
    expect(page.get_by_role("heading", name="The job failed")).to_be_visible()
    expect(page.get_by_text("use a smaller learning_rate").first).to_be_visible()


def test_a_job_is_cancelled_by_its_button(visit: Visit, site: Site) -> None:
    job = queue_job(site.project.id)
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "a worker", 60)
        assert claim is not None
    page = visit.open(f"/jobs/{job.id}")
    page.get_by_text("Cancel this job").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(page.get_by_role("heading", name="Cancelling")).to_be_visible()
    assert reload(job).cancel_requested_at is not None
    with transaction() as session:
        attempt_queries.finish_cancelled(session, claim)
    expect(page.get_by_role("heading", name="The job was cancelled")).to_be_visible()


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


UPLOADED = "who,answer,text\n" + "".join(
    f"{name},{'no' if n % 3 == place else 'yes'},Is number {n} <b>to be kept</b>?\n"
    for place, name in enumerate(("ana", "bo", "<script>alert(1)</script>"))
    for n in range(30)
)


def choose_file(page: Page, csv: str) -> None:
    page.get_by_label("The file").set_input_files({"name": "kept.csv", "mimeType": "text/csv", "buffer": csv.encode()})
    expect(page.get_by_role("cell", name="ana", exact=True).first).to_be_visible()


def test_a_file_is_looked_at_uploaded_and_trained_on(visit: Visit) -> None:
    page = visit.open("/datasets/new")
    choose_file(page, UPLOADED)
    expect(page.get_by_label("annotator who gave the label")).to_have_value("who")
    expect(page.get_by_label("label what they said")).to_have_value("answer")
    expect(page.get_by_text("“who” is a usual name for it.")).to_be_visible()
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("kept")
    expect(page.get_by_text("By 3 annotators on 30 prompts")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download as CSV").first.click()
    assert started.value.suggested_filename == "labels-per-prompt.csv"
    page.get_by_label("Name of the job").fill("first-try")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", name="Waiting for a worker")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("first-try")


def test_a_dropped_file_is_taken_and_its_bad_rows_are_shown(visit: Visit) -> None:
    page = visit.open("/datasets/new")
    page.evaluate(
        """text => {
            const dragged = new DataTransfer();
            dragged.items.add(new File([text], "kept.csv", { type: "text/csv" }));
            const drop = new DragEvent("drop", { dataTransfer: dragged, bubbles: true });
            document.getElementById("drop").dispatchEvent(drop);
        }""",
        UPLOADED + ",yes,Nobody?\n",
    )
    expect(page.get_by_text("The columns below were guessed")).to_be_visible()
    page.get_by_text("Answers and bad rows").click()
    page.get_by_label("is left out and listed").check()
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("1 rows were left out.")).to_be_visible()
    expect(page.locator("#faults tbody tr")).to_contain_text("92annotator")
    page.get_by_role("link", name="Look at the 90 labels that were kept").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("kept")


def test_the_queue_leads_to_a_prompt_and_to_who_voted(visit: Visit, site: Site) -> None:
    page = visit.open(f"/jobs/{site.job.id}/prompts")
    page.get_by_label("Text contains").fill("Headline 17 about")
    page.get_by_role("button", name="Show", exact=True).click()
    page.locator("a.prompt").click()
    expect(page.get_by_text("Headline 17 about")).to_be_visible()
    page.locator("section[aria-labelledby=votes] a").first.click()
    expect(page.get_by_role("heading", name="The most damaging labels")).to_be_visible()


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


WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


def report_paths(site: Site) -> list[str]:
    """Every page about a finished job, with an annotator who has something on each part of theirs."""
    job = f"/jobs/{site.dated_job.id}"
    worst = first_annotator(site)
    return [
        job,
        f"{job}/annotators/{worst}",
        f"{job}/agreement",
        f"{job}/compare?with={site.job.id}",
        f"{job}/what_if?without={worst}",
        f"{job}/prompts",
        f"{job}/prompts/item_3",
        f"/v1/fine_tuning/jobs/{site.dated_job.id}/report.html",
    ]


def other_paths(site: Site) -> list[str]:
    """Every other page, jobs in each state among them."""
    return [
        "/",
        "/docs",
        "/datasets",
        "/datasets/new",
        f"/datasets/{site.dated_job.dataset_id}",
        "/models",
        f"/models/{site.model_id}",
        f"/jobs/{queue_job(site.project.id).id}",
        f"/jobs/{running_job(site).id}",
        f"/jobs/{failed_job(site).id}",
        f"/jobs/{cancelled_job(site).id}",
    ]


def running_job(site: Site) -> Job:
    job, claim = claimed_job(site)
    measured = {"step": 10, "train_loss": 0.7, "probability": [0.5, 0.6]}
    events = (NewEvent("Step 10 done"), NewEvent("measured", type="metrics", data=measured))
    with transaction() as session:
        attempt_queries.record(session, claim, News(events=events, progress=Progress("training", 10, 40, 25.0, 60.0)))
    return job


def failed_job(site: Site) -> Job:
    job, claim = claimed_job(site)
    with transaction() as session:
        attempt_queries.fail(session, claim, "diverged", "Training diverged: use a smaller learning_rate.")
    return job


def cancelled_job(site: Site) -> Job:
    job, claim = claimed_job(site)
    with transaction() as session:
        cancel_job(session, site.project.id, job.id)
        attempt_queries.finish_cancelled(session, claim)
    return job


def claimed_job(site: Site) -> tuple[Job, Claim]:
    job = queue_job(site.project.id)
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "a worker", 60)
        assert claim is not None
    return job, claim


def first_annotator(site: Site) -> str:
    headers = {"Authorization": f"Bearer {site.project.admin_key}"}
    path = f"{site.url}/v1/fine_tuning/jobs/{site.dated_job.id}/annotators?limit=1"
    return str(httpx.get(path, headers=headers).json()["first_id"])


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


def test_every_page_fits_a_phone(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 800})
    log_in(context, site.url, site.project.admin_key)
    visit = Visit(context, site.url)
    for path in [*other_paths(site), *report_paths(site)]:
        page = visit.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    context.close()
    assert visit.complaints == []


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
