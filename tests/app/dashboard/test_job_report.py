"""The page of a finished job: its report, and that hostile text stays text."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.dashboard import job_values
from tests.app.dashboard.browser import Browser, annotator_page, text_of
from tests.conftest import ProjectKeys
from tests.finished_jobs import FORMULA_NAME, HOSTILE_PROMPT, SCRIPT_NAME, FinishedJob, crowd_rows, finish_job, upload


def table_of(page: str) -> list[str]:
    """The annotators' names in the order of the table."""
    return [
        html.unescape(name)
        for name in re.findall(r'<tr id="ann_\d+">\s*<th scope="row"><a [^>]*><bdi>(.*?)</bdi>', page)
    ]


def plot_of(page: str) -> dict[str, Any]:
    """The data of the plot."""
    data = re.search(r'<script type="application/json" id="annotators-data">(.*?)</script>', page)
    assert data is not None
    plot: dict[str, Any] = json.loads(data[1])
    return plot


def test_the_report_names_the_bad_annotators_in_words(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}")
    assert set(table_of(page)[:3]) == {SCRIPT_NAME, "swap sam", "always al"}
    assert table_of(page)[-1] == "newbie"
    text = text_of(page)
    assert "3 of 9 annotators" in text
    assert "Answers “business” 100 % of the time, whatever the prompt." in text
    assert re.search(r"Gives “(business|science)” where “(business|science)” is probably right", text)
    assert "Worse than chance" in text
    assert "1 has too few labels to tell" in text
    assert "Majority vote" in text
    assert "Dawid–Skene" in text


def test_the_plot_has_the_same_figures_as_the_table(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}")
    plot = plot_of(page)
    assert plot["chance"] == pytest.approx(1 / 3)
    assert {row["name"] for row in plot["rows"]} == set(table_of(page)) - {"newbie"}
    values = [row["value"] for row in plot["rows"]]
    assert values == sorted(values)
    assert {row["name"]: row["tone"] for row in plot["rows"] if row["tone"] != "plain"} == {
        SCRIPT_NAME: "bad",
        "swap sam": "look",
        "always al": "look",
    }


def test_nothing_is_red_but_what_is_surely_worse_than_chance(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    for row in plot_of(browser.open(f"/jobs/{job.id}"))["rows"]:
        assert (row["tone"] == "bad") <= (row["high"] < 1 / 3)


def test_a_wrong_query_is_a_page_that_says_what(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    assert "sort" in text_of(browser.open(f"/jobs/{job.id}", 422, sort="height"))
    assert "There is no task" in text_of(browser.open(f"/jobs/{job.id}", 422, task="nope"))
    assert "Not found" in browser.open(f"/jobs/{job.id}", 404, after="ann_999999999")


def test_annotators_are_found_sorted_and_paged(
    finished: tuple[Browser, FinishedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, job = finished
    monkeypatch.setattr("app.dashboard.job_routes.ROWS_PER_PAGE", 4)
    seen, address = [], f"/jobs/{job.id}?sort=n"
    while address:
        page = browser.open(address)
        seen += table_of(page)
        following = re.search(r'<a class="button" href="([^"#]+)#annotators">Next 4</a>', page)
        address = html.unescape(following[1]) if following else ""
    assert len(seen) == 9
    assert seen[0] == "newbie"
    assert 'aria-sort="ascending"' in page
    assert table_of(browser.open(f"/jobs/{job.id}", name="CHEN", task="")) == ["chen wei"]
    assert "No annotator has “nobody” in their name" in text_of(browser.open(f"/jobs/{job.id}", name="nobody"))


def test_the_plot_of_many_says_that_it_is_a_part(
    finished: tuple[Browser, FinishedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, job = finished
    monkeypatch.setattr(job_values, "MARKS_IN_PLOT", 4)
    page = browser.open(f"/jobs/{job.id}")
    assert {row["name"] for row in plot_of(page)["rows"]} == set(table_of(page)[:4])
    assert "Drawn are the 4 whom the table’s own order puts first" in text_of(page)
    assert len(table_of(page)) == 9


def test_hostile_text_stays_text(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    for page in (browser.open(f"/jobs/{job.id}"), browser.open(f"/jobs/{job.id}", name="<script>"), browser.open("/")):
        assert "<script>" not in page
        assert "<b>views" not in page
        assert "<img" not in page
        assert "{{" not in page
    page = browser.open(f"/jobs/{job.id}", sort="name")
    assert html.escape(SCRIPT_NAME, quote=False).replace("'", "&#39;") in page
    assert FORMULA_NAME in html.unescape(page)


def test_hostile_prompts_stay_text(finished: tuple[Browser, FinishedJob], monkeypatch: pytest.MonkeyPatch) -> None:
    browser, job = finished
    monkeypatch.setattr(job_values, "ITEMS_SHOWN", 240)
    page = browser.open(f"/jobs/{job.id}")
    assert HOSTILE_PROMPT in html.unescape(page)
    assert "<img" not in page


def test_the_report_outlives_its_dataset(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    client.headers["Authorization"] = f"Bearer {project.admin_key}"
    job = finish_job(project.id, upload(client, crowd_rows()[:400]), with_model=False)
    assert client.delete(f"/v1/datasets/{job.dataset_id}").status_code in (200, 204)
    del client.headers["Authorization"]
    page = text_of(browser.open(f"/jobs/{job.id}"))
    assert "Its dataset was deleted" in page
    assert "The dataset was deleted, and its prompts and labels with it." in page
    assert "always al" in page
    _, of_al = annotator_page(browser, job, "always al")
    assert "The dataset was deleted, and its prompts and labels with it." in of_al
    assert "Answers “business”" in text_of(of_al)
    assert "deleted" in text_of(browser.open("/"))
    assert "They come from the labels alone, without a model." in page
