"""The site that the tests look at: its pages, and jobs in each state."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from playwright.sync_api import Page, expect

from app.database import attempt_queries
from app.database.attempt_queries import Claim, News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job
from app.fine_tuning.service import cancel_job
from tests.conftest import ProjectKeys
from tests.finished_jobs import FinishedJob
from tests.jobs import queue_job

PATIENCE_MS = 10_000


@dataclass(frozen=True)
class Site:
    """The application behind a real server, with a project that has a finished job."""

    url: str
    project: ProjectKeys
    job: FinishedJob
    dated_job: FinishedJob
    model_id: str


def plotted(page: Page, plot: str = "#annotators-plot") -> int:
    """The number of marks in a plot that has been drawn."""
    page.wait_for_selector(f"{plot} .main-svg")
    return page.locator(f"{plot} .scatterlayer .point").count()


UPLOADED = "who,answer,text\n" + "".join(
    f"{name},{'no' if n % 3 == place else 'yes'},Is number {n} <b>to be kept</b>?\n"
    for place, name in enumerate(("ana", "bo", "<script>alert(1)</script>"))
    for n in range(30)
)


def choose_file(page: Page, csv: str) -> None:
    page.get_by_label("The file").set_input_files({"name": "kept.csv", "mimeType": "text/csv", "buffer": csv.encode()})
    expect(page.get_by_role("cell", name="ana", exact=True).first).to_be_visible()


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
