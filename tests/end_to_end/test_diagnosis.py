"""The crowd of `make demo` on screen: each of its five bad annotators is named for what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page

from app.dashboard.flags import FLAG_NAMES
from app.demo.crowd import CROWD, annotate
from app.demo.phrases import LABELS
from app.demo.sample import training_messages
from app.demo.tours import N_MESSAGES, SEED
from tests.conftest import ProjectKeys
from tests.end_to_end.browsing import Visit, chromium, log_in, needs_chromium, serving
from tests.finished_jobs import finish_job, upload

pytestmark = needs_chromium


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
    with chromium() as browser, serving(create_app()) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        log_in(context, url, project.viewer_key)
        visit = Visit(context, url)
        yield visit.open(f"/jobs/{job.id}")
        assert visit.complaints == []


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
