"""Jobs on screen while they run: followed to their end, and cancelled."""

from __future__ import annotations

from playwright.sync_api import expect

from app.database import attempt_queries
from app.database.attempt_queries import News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from tests.end_to_end.browsing import Visit, needs_chromium
from tests.end_to_end.dashboard.site import Site
from tests.jobs import queue_job, reload

pytestmark = needs_chromium


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
