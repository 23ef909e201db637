"""The playground's page, with a stand-in for a loaded model."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from tests.app.dashboard.browser import HTML, Browser, text_of
from tests.app.inference.conftest import MadeModel
from tests.app.inference.stand_in import answer_to
from tests.conftest import ProjectKeys

pytestmark = pytest.mark.usefixtures("use_inference")


@pytest.fixture
def browser(client: TestClient, project: ProjectKeys, model: MadeModel) -> Browser:
    return Browser(client, project.viewer_key)


def ask(client: TestClient, browser: Browser, model: MadeModel, **fields: str) -> str:
    token = re.findall(r'name="csrf_token" value="([^"]+)"', browser.open(f"/models/{model.id}"))[0]
    answer = client.post(f"/models/{model.id}", data={"csrf_token": token, **fields}, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_list_leads_to_the_playground(browser: Browser, model: MadeModel) -> None:
    page = browser.open("/models")
    assert f'href="/models/{model.id}"' in page
    assert "negative, neutral, positive" in page


def test_a_project_without_models_says_what_makes_them(client: TestClient, project: ProjectKeys) -> None:
    assert "No model yet" in Browser(client, project.viewer_key).open("/models")


def test_a_viewer_gets_the_probability_of_each_answer(client: TestClient, browser: Browser, model: MadeModel) -> None:
    page = ask(client, browser, model, prompt="hello", annotator="")
    shown = re.findall(r'<th scope="row"><bdi>(\w+)</bdi></th><td[^>]*>([\d.]+)', page)
    assert shown == [(one["label"], f"{100 * float(str(one['score'])):.1f}") for one in answer_to("hello")]
    assert ">hello</textarea>" in page
    assert "its end was cut" not in page


def test_what_an_annotator_would_have_said_stands_beside_it(
    client: TestClient, browser: Browser, model: MadeModel
) -> None:
    page = ask(client, browser, model, prompt="hello", annotator="ann_2")
    rows = re.findall(r'<th scope="row"><bdi>(\w+)</bdi></th><td[^>]*>([\d.]+)[^<]*</td><td[^>]*>([\d.]+)', page)
    truth = {label: score for label, score, _ in rows}
    assert {label: said for label, _, said in rows} == {
        label: truth[{"negative": "positive", "positive": "negative"}.get(label, label)] for label in truth
    }


def test_a_cut_text_is_announced(client: TestClient, browser: Browser, model: MadeModel) -> None:
    assert "its end was cut" in text_of(ask(client, browser, model, prompt="x" * 60))


def test_what_is_wrong_is_said_and_the_text_is_kept(client: TestClient, browser: Browser, model: MadeModel) -> None:
    page = ask(client, browser, model, prompt="<b>poison</b>", annotator="nobody")
    assert "There is no annotator 'nobody'" in text_of(page)
    assert "&lt;b&gt;poison&lt;/b&gt;</textarea>" in page
    assert "No answer" in ask(client, browser, model, prompt=" ")


def test_models_of_others_are_not_found(client: TestClient, browser: Browser) -> None:
    assert "Not found" in browser.open("/models/ft:minilm:other:model:00000000", 404)
