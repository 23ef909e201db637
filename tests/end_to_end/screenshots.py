"""Pictures of every page for the README and for looking at: `python -m tests.end_to_end.screenshots [FOLDER]`.

A service of its own runs the demo's crowd; each page is taken in light and dark, and as wide as a phone.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from app.client import Json, RealmClient
from app.demo.crowd import annotate, write_labels
from app.demo.phrases import LABELS
from app.demo.sample import training_messages
from app.running_service import RunningService, running_service
from tests.end_to_end.browsing import chromium

SEED = 7
N_MESSAGES = 600
SETTLE_MS = 1500
README_PICTURE, README_HEIGHT = "readme.png", 2110  # the report down to the end of its table of annotators
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1180, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1180, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}, "device_scale_factor": 2},
}


class Photographer:
    """Takes a page in every look."""

    def __init__(self, browser: Browser, service: RunningService, folder: Path) -> None:
        self._url, self._folder = service.url, folder
        self._contexts = {name: browser.new_context(**look) for name, look in LOOKS.items()}
        for context in self._contexts.values():
            _log_in(context, service)

    def take(self, name: str, path: str) -> None:
        for look, context in self._contexts.items():
            page = context.new_page()
            page.goto(self._url + path)
            page.wait_for_timeout(SETTLE_MS)
            file = self._folder / f"{name}-{look}.png"
            _save(page.screenshot(full_page=True), file)
            page.close()
            print(file)


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
    """An empty service, a job while it trains, its report, and what else there is to see."""
    with (
        tempfile.TemporaryDirectory() as data,
        running_service(Path(data) / "data") as service,
        chromium() as browser,
        RealmClient(service.url, service.api_key) as client,
    ):
        photographer = Photographer(browser, service, folder)
        photographer.take("empty", "/")
        job = client.fine_tuning.jobs.create(dataset=_upload(client, Path(data))["id"], seed=SEED, suffix="messages")
        _wait_until_half_trained(client, job["id"])
        photographer.take("running", f"/jobs/{job['id']}")
        finished = client.fine_tuning.jobs.wait(job["id"])
        assert finished["status"] == "succeeded", finished["error"]
        photographer.take("report", f"/jobs/{job['id']}")
        make_readme_picture(folder)
        first = next(client.reports.annotators(job["id"]))
        photographer.take("annotator", f"/jobs/{job['id']}/annotators/{first['id']}")
        photographer.take("home", "/")
        photographer.take("api", "/docs")


def make_readme_picture(folder: Path) -> None:
    with Image.open(folder / "report-light.png") as report:
        report.crop((0, 0, report.width, README_HEIGHT)).save(folder / README_PICTURE, optimize=True)


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
