"""The pages about a finished job's prompts as HTML."""

from __future__ import annotations

import html
import re

import pytest
from fastapi.testclient import TestClient

from app.dashboard.prompt_values import times_as_likely
from app.reports.schemas import AnswerProbability, ItemDetail, WeightedVote
from tests.app.dashboard.browser import Browser, text_of
from tests.conftest import ProjectKeys
from tests.finished_jobs import HOSTILE_PROMPT, SCRIPT_NAME, FinishedJob, crowd_rows, finish_job, upload
from tests.jobs import queue_job


def listed(page: str) -> list[str]:
    return re.findall(r'<tr id="(item_\d+)">', page)


def test_the_queue_says_how_much_to_label_again_and_by_whom(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}/prompts")
    text = text_of(page)
    assert re.search(r"Right today, probably \d\d\.\d\s% Of 240 cleaned labels", text)
    assert re.search(r"To reach 99\.9\s% \d+ prompts?", text)
    reviewers = text[text.index("Who should label them") :]
    assert "ada" in reviewers
    for bad in (SCRIPT_NAME, "swap sam", "always al"):
        assert bad not in reviewers
    assert page.count("<circle") == 20
    assert "shape=label-studio" in page


def test_what_the_figures_lead_to_are_the_prompts_behind_them(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}/prompts")
    rows = re.findall(r'href="([^"]*probability_min[^"#]*)#queue">(\d+)</a>', page)
    address, n = rows[-1]
    assert len(listed(browser.open(html.unescape(address)))) >= int(n)  # the twentieth that is surest: 12 prompts


def test_prompts_are_filtered_sorted_and_paged(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    path = f"/jobs/{job.id}/prompts"
    assert len(listed(browser.open(path, text="Headline 17 about", task="default", label="", probability_min=""))) == 1
    assert "No prompt is like that" in browser.open(path, text="nothing like it")
    seen, address = [], f"{path}?sort=item&task=default&label=sports"
    while address:
        page = browser.open(address)
        seen += listed(page)
        following = re.search(r'<a class="button" href="([^"#]+)#queue">Next 25</a>', page)
        address = html.unescape(following[1]) if following else ""
    assert len(seen) == len(set(seen)) > 50
    assert "has no answer" in text_of(browser.open(path, 422, task="default", label="cooking"))


def test_of_several_tasks_one_is_chosen_and_then_an_answer(client: TestClient, project: ProjectKeys) -> None:
    tone = [row | {"task": "tone", "label": "warm", "gold": "warm"} for row in crowd_rows()[:200]]
    rows = [row | {"task": "topic"} for row in crowd_rows()[:200]] + tone
    job = finish_job(project.id, upload(client, rows, "two tasks"), with_model=False)
    browser = Browser(client, project.viewer_key)
    path = f"/jobs/{job.id}/prompts"
    page = browser.open(path)
    assert "<h1>Prompts of <bdi>two tasks</bdi></h1>" in page
    assert re.findall(r"<option[^>]*>(tone|topic)</option>", page) == ["topic", "tone"]
    assert 'name="label"' not in page
    page = browser.open(path, task="tone", label="")
    assert 'name="label"' in page
    assert "<option>warm</option>" in page
    assert len(listed(browser.open(path, task="tone", label="warm"))) == 25
    assert "no task" in text_of(browser.open(path, 422, task="colour"))


def test_a_prompt_shows_its_votes_and_what_they_say(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    first = listed(browser.open(f"/jobs/{job.id}/prompts", text="Headline 17 about"))[0]
    page = browser.open(f"/jobs/{job.id}/prompts/{first}")
    text = text_of(page)
    votes = [row for row in crowd_rows() if row["item_id"] == "item-17"]
    for row in votes:
        assert f"<bdi>{row['annotator']}</bdi>" in html.unescape(page)
    assert "times as likely" in text
    assert "Model alone" in text
    again = text[text.index("Who could label it again") :]
    assert not any(row["annotator"] in again for row in votes)


def test_hostile_prompts_stay_text(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}/prompts", text="onerror")
    assert HOSTILE_PROMPT in html.unescape(page)
    one = browser.open(f"/jobs/{job.id}/prompts/{listed(page)[0]}")
    for shown in (page, one):
        assert "<img" not in shown
        assert "{{" not in shown.replace(html.escape("{{ 7 * 7 }}"), "")


def test_what_is_not_there_says_so(
    client: TestClient, project: ProjectKeys, finished: tuple[Browser, FinishedJob]
) -> None:
    browser, job = finished
    assert "There is no item" in text_of(browser.open(f"/jobs/{job.id}/prompts/item_999999", 404))
    other = Browser(client, project.viewer_key)
    assert "Not found" in other.open(f"/jobs/{job.id}/prompts", 404)
    assert "waits for a worker" in text_of(other.open(f"/jobs/{queue_job(project.id).id}/prompts", 409))


@pytest.mark.parametrize(("accuracy", "times"), [(0.5, 2.0), (1 / 3, 1.0), (0.0, 0.002), (1.0, 1998.0), (None, None)])
def test_a_vote_says_as_much_as_its_annotator_is_right(accuracy: float | None, times: float | None) -> None:
    answers = [AnswerProbability(answer=name, probability=0.3, model_probability=None) for name in "abc"]
    item = ItemDetail(
        id="item_1", item_id=None, prompt="x", task="t", label="a", probability=1, model_probability=None,
        votes=[], relabel_gain=0, answers=answers,
    )  # fmt: skip
    vote = WeightedVote(id="ann_1", annotator="ada", label="a", accuracy=accuracy)
    assert times_as_likely(vote, item) == (None if times is None else pytest.approx(times, rel=0.01))
