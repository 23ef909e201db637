"""Pictures of every page for the README and for looking at: `python -m tests.end_to_end.screenshots [FOLDER]`.

A service of its own runs the demo's crowd; each page is taken in light and dark, and as wide as a phone. Git keeps
those that the README shows.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from app.client import Json, RealmClient
from app.demo.crowd import annotate, write_labels
from app.demo.phrases import LABELS
from app.demo.sample import training_messages
from app.running_service import RunningService, running_service
from tests.end_to_end.browsing import chromium

SEED = 7
N_MESSAGES = 600
SETTLE_MS = 1500
README_HEIGHT = 2640  # the report down to the end of its table of annotators
README_PICTURES = {  # what the README shows: a picture, and how much of its top
    "readme.png": ("report-light.png", README_HEIGHT),
    "annotator.png": ("annotator-changed-light.png", 1990),
    "prompts.png": ("prompts-light.png", 1600),
    "agreement.png": ("agreement-dark.png", 1400),
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1180, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1180, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}, "device_scale_factor": 2},
}
Act = Callable[[Page], None]


class Photographer:
    """Takes a page in every look."""

    def __init__(self, browser: Browser, service: RunningService, folder: Path) -> None:
        self._url, self._folder = service.url, folder
        self._contexts = {name: browser.new_context(**look) for name, look in LOOKS.items()}
        self.take("login", "/")
        for context in self._contexts.values():
            _log_in(context, service)

    def take(self, name: str, path: str, act: Act | None = None) -> None:
        """A picture of the page at `path`, after something was done there."""
        for look, context in self._contexts.items():
            page = context.new_page()
            page.goto(self._url + path)
            if act is not None:
                act(page)
            page.wait_for_timeout(SETTLE_MS)
            file = self._folder / f"{name}-{look}.png"
            _save(page.screenshot(full_page=True), file)
            page.close()
            print(file, flush=True)


def _log_in(context: BrowserContext, service: RunningService) -> None:
    page = context.new_page()
    page.goto(service.url)
    page.get_by_label("API key").fill(service.api_key)
    page.get_by_role("button", name="Log in").click()
    page.close()


def _save(png: bytes, file: Path) -> None:
    """With 256 colours a picture is a third as large; by coverage, so that the few red marks keep theirs."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, kmeans=1, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        file, optimize=True
    )


def take_all(folder: Path) -> None:
    """An empty service, jobs in every state, and all pages of a finished one."""
    with (
        tempfile.TemporaryDirectory() as data,
        running_service(Path(data) / "data") as service,
        chromium() as browser,
        RealmClient(service.url, service.api_key) as client,
    ):
        photographer = Photographer(browser, service, folder)
        photographer.take("empty", "/")
        photographer.take("no-models", "/models")
        dataset = _upload(client, Path(data))
        job = client.fine_tuning.jobs.create(dataset=dataset["id"], seed=SEED, suffix="messages")
        _take_unfinished(photographer, client, job, dataset)
        finished = client.fine_tuning.jobs.wait(job["id"])
        assert finished["status"] == "succeeded", finished["error"]
        _take_failed(photographer, client)
        _take_report(photographer, client, finished, dataset)
        _take_the_rest(photographer, finished, dataset, Path(data) / "messages.csv")
    make_readme_pictures(folder)


def _take_unfinished(photographer: Photographer, client: RealmClient, job: Json, dataset: Json) -> None:
    """One that trains, one that waits behind it, and one that is cancelled."""
    waiting = client.fine_tuning.jobs.create(dataset=dataset["id"], suffix="second-try")
    _wait_until_half_trained(client, job["id"])
    photographer.take("running", f"/jobs/{job['id']}")
    photographer.take("waiting", f"/jobs/{waiting['id']}")
    client.fine_tuning.jobs.cancel(waiting["id"])
    photographer.take("cancelled", f"/jobs/{waiting['id']}")


def _take_failed(photographer: Photographer, client: RealmClient) -> None:
    """Steps so large that the numbers overflow."""
    rows = [{"prompt": f"text {n}", "annotator": who, "label": "yn"[n % 2]} for n in range(8) for who in ("ann", "bob")]
    dataset = client.datasets.create(rows, name="eight texts")
    job = client.fine_tuning.jobs.create(dataset=dataset["id"], hyperparameters={"learning_rate": 1e30})
    assert client.fine_tuning.jobs.wait(job["id"])["status"] == "failed"
    photographer.take("failed", f"/jobs/{job['id']}")
    photographer.take("small-dataset", f"/datasets/{dataset['id']}")


def _take_report(photographer: Photographer, client: RealmClient, job: Json, dataset: Json) -> None:
    """Every page of a finished job. Somebody has decided something about the first annotator."""
    other = client.fine_tuning.jobs.create(dataset=dataset["id"], method="aggregation", suffix="labels-only")
    client.fine_tuning.jobs.wait(other["id"])
    first, second, *_ = client.reports.annotators(job["id"])
    page = f"/jobs/{job['id']}"
    photographer.take("annotator", f"{page}/annotators/{first['id']}")
    changed = next(row for row in client.reports.annotators(job["id"]) if "drift" in row["flags"])
    photographer.take("annotator-changed", f"{page}/annotators/{changed['id']}")
    photographer.take("annotator-key", f"{page}/annotators/{first['id']}", _make_key)
    photographer.take("report", page)
    photographer.take("prompts", f"{page}/prompts")
    photographer.take("prompt", f"{page}/prompts/{next(client.reports.items(job['id']))['id']}")
    photographer.take("agreement", f"{page}/agreement")
    photographer.take("compare-choice", f"{page}/compare")
    photographer.take("compare", f"{page}/compare?with={other['id']}")
    photographer.take("what-if", f"{page}/what_if?without={first['id']}&without={second['id']}")
    photographer.take("printed", f"/v1/fine_tuning/jobs/{job['id']}/report.html")


def _take_the_rest(photographer: Photographer, job: Json, dataset: Json, file: Path) -> None:
    photographer.take("home", "/")
    photographer.take("api", "/docs")
    photographer.take("datasets", "/datasets")
    photographer.take("dataset", f"/datasets/{dataset['id']}")
    photographer.take("upload", "/datasets/new")
    photographer.take(
        "upload-chosen", "/datasets/new", lambda page: page.get_by_label("The file").set_input_files(file)
    )
    photographer.take("models", "/models")
    photographer.take("playground", f"/models/{job['fine_tuned_model']}")
    photographer.take("playground-answer", f"/models/{job['fine_tuned_model']}", _ask)
    photographer.take("not-found", "/jobs/ftjob-unknown")


def _ask(page: Page) -> None:
    page.locator("[name=prompt]").fill("I was charged twice for the same order.")
    page.locator("[name=annotator]").fill("tomas")
    page.get_by_role("button", name="Ask").click()


def _make_key(page: Page) -> None:
    page.get_by_role("button", name="Make a key").click()


def make_readme_pictures(folder: Path) -> None:
    for name, (source, height) in README_PICTURES.items():
        with Image.open(folder / source) as picture:
            picture.crop((0, 0, picture.width, min(height, picture.height))).save(folder / name, optimize=True)


def _upload(client: RealmClient, folder: Path) -> Json:
    messages = training_messages(N_MESSAGES, SEED)
    write_labels(folder / "messages.csv", messages, annotate(messages, SEED))
    return client.datasets.upload(folder / "messages.csv", name="Customer messages", labels=LABELS)


def _wait_until_half_trained(client: RealmClient, job_id: str) -> None:
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job["finished_at"] or (job["progress"] and job["progress"]["percent"] > 40):
            return
        time.sleep(0.2)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    out.mkdir(parents=True, exist_ok=True)
    take_all(out)
