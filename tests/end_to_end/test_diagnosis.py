"""The crowd of `make demo` on screen: each of its five bad annotators is named for what is wrong with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Page

from app.dashboard.flags import FLAG_NAMES
from app.demo.crowd import CROWD, annotate
from app.demo.phrases import LABELS
from app.demo.sample import training_messages
from app.demo.tours import N_MESSAGES, SEED
from tests.conftest import ProjectKeys
from tests.end_to_end.browsing import CHROMIUM, Visit, chromium
from tests.finished_jobs import finish_job, upload

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium")


def demo_rows() -> list[dict[str, Any]]:
    """What `make demo` uploads; with the truth, from which a model is simulated that is right four times in five."""
    messages, names = training_messages(N_MESSAGES, SEED), list(LABELS)
    labels = annotate(messages, SEED)
    assert labels.created_at is not None
    given = zip(labels.item, labels.annotator, labels.label, labels.created_at, strict=True)
    return [
        {
            "prompt": messages.prompts[item],
            "annotator": CROWD[annotator].name,
            "label": names[label],
            "created_at": int(at),
            "gold": names[messages.truth[item]],
        }
        for item, annotator, label, at in given
    ]


@pytest.fixture
def report(client: TestClient, project: ProjectKeys) -> Iterator[Page]:
    """The page of a job on that crowd, with the report that the real code makes."""
    from app.main import create_app

    job = finish_job(project.id, upload(client, demo_rows(), "demo"), suffix="demo")
    server = uvicorn.Server(uvicorn.Config(create_app(), port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        visit = Visit(context, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        page = visit.open("/login")
        page.get_by_label("API key").fill(project.viewer_key)
        page.get_by_role("button", name="Log in").click()
        yield visit.open(f"/jobs/{job.id}")
        assert visit.complaints == []
    server.should_exit = True
    thread.join()


def test_the_five_are_named_and_nobody_innocent_is_accused(report: Page) -> None:
    rows = report.locator("tbody tr[id^=ann_]")
    assert rows.count() == len(CROWD)
    for who in CROWD:
        row = rows.filter(has=report.get_by_role("rowheader", name=who.name, exact=True))
        said = row.locator(".tag").all_text_contents()
        assert FLAG_NAMES[who.flag] in said if who.flag else said == [], (who.name, said)


def test_they_are_those_to_look_at_first(report: Page) -> None:
    people = report.locator("section[aria-labelledby=looks] div.three > div").first
    bad = {who.name: FLAG_NAMES[who.flag] for who in CROWD if who.flag is not None}
    assert set(people.get_by_role("link").all_text_contents()) == set(bad)
    for name, flag in bad.items():
        assert flag in people.locator("li", has=report.get_by_role("link", name=name)).inner_text()
