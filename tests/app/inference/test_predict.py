"""Predict over HTTP: shapes, faults, limits, and that nobody gets another's answer."""

from __future__ import annotations

import asyncio
import json
import random
import re
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from app.database.session import transaction
from app.database.tables import Annotator
from tests.app.inference.conftest import MadeModel, application_of
from tests.app.inference.stand_in import StandIn, answer_to
from tests.conftest import ProjectKeys

pytestmark = pytest.mark.usefixtures("use_inference")

Ask = Callable[..., Any]


@pytest.fixture
def ask(client: TestClient, model: MadeModel) -> Ask:
    def ask(inputs: Any, **rest: Any) -> Any:
        body = json.dumps({"inputs": inputs, **rest})  # httpx would not send what is no UTF-8
        headers = {"Content-Type": "application/json"}
        return client.post(f"/v1/models/{model.id}/predict", content=body, headers=headers)

    return ask


def test_a_text_is_answered_by_its_labels_most_probable_first(ask: Ask, model: MadeModel) -> None:
    answer = ask("hello")
    assert answer.json() == answer_to("hello")
    assert answer.headers["X-Model-Id"] == model.id
    timing = re.fullmatch(
        r"load;dur=[\d.]+, tokenize;dur=[\d.]+, queue;dur=[\d.]+, infer;dur=[\d.]+", answer.headers["Server-Timing"]
    )
    assert timing is not None


def test_two_texts_are_two_inputs_not_a_pair(ask: Ask) -> None:
    assert ask(["hello", "world"]).json() == [answer_to("hello"), answer_to("world")]


def test_a_list_of_one_is_answered_by_a_list(ask: Ask) -> None:
    assert ask(["hello"]).json() == [answer_to("hello")]
    assert ask([]).json() == []


def test_inputs_may_name_their_task(ask: Ask) -> None:
    inputs = [{"prompt": "hello", "task": "mood"}, "world", {"prompt": "hello", "task": "nonsense"}]
    good, text, bad = ask(inputs).json()
    assert (good, text) == (answer_to("hello"), answer_to("world"))
    assert bad == {"error": {"code": "invalid_input", "message": "There is no task 'nonsense'."}}
    assert ask({"prompt": "hello", "task": "mood"}).json() == answer_to("hello")


def test_order_is_kept_whatever_the_lengths(ask: Ask) -> None:
    texts = [random.Random(n).choice(string.ascii_letters) * (n * 7 % 49 + 1) for n in range(200)]
    assert ask(texts).json() == [answer_to(text) for text in texts]


def test_top_k(ask: Ask) -> None:
    assert ask("hello", parameters={"top_k": 1}).json() == answer_to("hello")[:1]
    assert ask("hello", parameters={"top_k": 99}).json() == answer_to("hello")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("", "prompt: String should have at least 1 character"),
        ("  \n", "The prompt is empty."),
        (7, "An input is a text or an object {prompt, task, options}."),
        (None, "An input is a text or an object {prompt, task, options}."),
        (["a", "b"], "An input is a text or an object {prompt, task, options}."),
        ({"prompt": "a", "labels": []}, "labels: Extra inputs are not permitted"),
        ({"task": "mood"}, "prompt: Field required"),
        ({"prompt": "a", "options": ["one"]}, "options: List should have at least 2 items after validation, not 1"),
        ("\ud800", "prompt: Input should be a valid string, unable to parse raw data as a unicode string"),
        ("x" * 100_001, "prompt: String should have at most 100000 characters"),
        ("poison", "The model failed at this input."),
    ],
)
def test_a_bad_input_has_its_error_in_its_slot(ask: Ask, bad: object, message: str) -> None:
    before, slot, after = ask(["before", bad, "after"]).json()
    assert (before, after) == (answer_to("before"), answer_to("after"))
    assert slot["error"]["message"] == message


def test_a_bad_input_that_came_alone_is_a_problem(ask: Ask) -> None:
    empty, failing = ask(" "), ask("poison")
    assert (empty.status_code, empty.json()["error"]["param"]) == (422, "inputs")
    assert (failing.status_code, failing.json()["code"]) == (500, "inference_failed")


def test_nul_and_odd_letters_are_answered(ask: Ask) -> None:
    texts = ["a\0b", "\u202egnirts", "😀", "\x1b[31m"]
    assert ask(texts).json() == [answer_to(text) for text in texts]


def test_a_prompt_that_is_too_long_is_refused_or_cut_and_said_to_be(ask: Ask) -> None:
    long = "x" * 80
    refused, short = ask([long, "short"]).json()
    assert refused["error"]["code"] == "prompt_too_long"
    assert "80 tokens and this model reads 50" in refused["error"]["message"]
    assert short == answer_to("short")
    cut, short = ask([long, "short"], parameters={"truncation": "right"}).json()
    assert cut == [{**label, "truncated": True} for label in answer_to("x" * 50)]
    assert short == answer_to("short")


def add_annotator(project: ProjectKeys, name: str) -> str:
    with transaction() as session:
        added = insert(Annotator).values(project_id=project.id, name=name).returning(Annotator.id)
        return f"ann_{session.execute(added).scalar_one()}"


def test_what_an_annotator_would_have_said(ask: Ask, project: ProjectKeys, stand_in: StandIn) -> None:
    """The model knows its annotators by their ids alone."""
    stand_in.annotators = (add_annotator(project, "ada"), add_annotator(project, "bob"))
    truth = {label["label"]: label["score"] for label in ask("hello").json()}
    turned = {"negative": truth["positive"], "neutral": truth["neutral"], "positive": truth["negative"]}
    for name in ("bob", stand_in.annotators[1]):
        said = ask("hello", annotator=name).json()
        assert {label["label"]: label["score"] for label in said} == turned
        assert [label["score"] for label in said] == sorted(turned.values(), reverse=True)
    assert ask("hello", annotator="ada").json() == answer_to("hello")


@pytest.mark.parametrize(
    "annotator", ["eve", "ann_999999999", "ann_99999999999999999999", "ann_0", "", "a\0b", "\ud800"]
)
def test_an_annotator_whom_the_model_does_not_know(ask: Ask, annotator: str) -> None:
    answer = ask(["hello"], annotator=annotator)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_annotator")


def test_another_projects_annotator_is_unknown(ask: Ask, other_project: ProjectKeys) -> None:
    assert ask("hello", annotator=add_annotator(other_project, "bob")).status_code == 422
    assert ask("hello", annotator="bob").status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"inputs": ' + b"9" * 5000 + b"}", 400, None),
        (b"[]", 422, "body"),
        (b"{}", 422, "inputs"),
        (b'{"inputs": "a", "input": "b"}', 422, "input"),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', 422, "parameters.top_k"),
        (b'{"inputs": "a", "parameters": {"truncation": "silent"}}', 422, "parameters.truncation"),
        (b'{"inputs": "a", "parameters": {"temperature": 1}}', 422, "parameters.temperature"),
        (b'{"inputs": "a", "annotator": 7}', 422, "annotator"),
        (b'{"inputs": 7}', 422, "inputs"),
    ],
)
def test_a_body_that_cannot_be_read(
    client: TestClient, model: MadeModel, body: bytes, status: int, param: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/v1/models/{model.id}/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_bodies_of_another_kind_or_size_are_refused(client: TestClient, model: MadeModel, ask: Ask) -> None:
    url = f"/v1/models/{model.id}/predict"
    assert client.post(url, content=b"hello", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post(f"{url}?top_k=1", json={"inputs": "hello"}).status_code == 422
    assert client.post(url, json={"inputs": ["x" * 2**20] * 17}).status_code == 413
    too_many = ask(["hello"] * 1001)
    assert (too_many.status_code, too_many.json()["code"]) == (413, "too_many_inputs")


def test_when_too_many_wait_the_next_is_asked_to_come_again(
    ask: Ask, stand_in: StandIn, use_inference: Callable[..., None]
) -> None:
    use_inference(max_predict_inputs_in_flight=3)
    stand_in.open.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, ["a", "b"])
        assert stand_in.busy.wait(10)
        refused = ask(["c", "d"])
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        stand_in.open.set()
        assert first.result(10).json() == [answer_to("a"), answer_to("b")]
    assert ask(["c", "d", "e", "f"]).status_code == 200  # alone, any request fits


def test_who_waits_too_long_is_told_and_dropped(
    ask: Ask, stand_in: StandIn, use_inference: Callable[..., None]
) -> None:
    use_inference(predict_timeout_seconds=0.2)
    stand_in.open.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, "running")
        assert stand_in.busy.wait(10)
        assert ask("waiting").status_code == 504
        assert running.result(10).status_code == 504
    stand_in.open.set()
    use_inference()
    assert ask("later").json() == answer_to("later")
    assert ["waiting"] not in stand_in.batches


def test_who_hangs_up_is_dropped_before_the_batch(
    client: TestClient, model: MadeModel, project: ProjectKeys, ask: Ask, stand_in: StandIn
) -> None:
    def hang_up_while_waiting() -> list[dict[str, Any]]:
        """A request over the ASGI interface whose client leaves once the model is busy with another."""
        sent: list[dict[str, Any]] = []
        messages = [{"type": "http.request", "body": json.dumps({"inputs": "dropped"}).encode(), "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        path = f"/v1/models/{model.id}/predict"
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {project.admin_key}".encode())]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        assert client.portal is not None
        client.portal.call(application_of(client), scope, receive, send)
        return sent

    stand_in.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, "first")
        assert stand_in.busy.wait(10)
        sent = pool.submit(hang_up_while_waiting).result(10)
        stand_in.open.set()
        assert first.result(10).json() == answer_to("first")
    assert [message["status"] for message in sent if "status" in message] == [499]
    assert ask("last").json() == answer_to("last")
    assert stand_in.batches == [["first"], ["last"]]


def test_a_hundred_clients_at_once_each_get_their_own_answer(ask: Ask, stand_in: StandIn) -> None:
    source = random.Random(1)
    texts = ["".join(source.choices(string.printable, k=source.randint(1, 50))) or "x" for _ in range(300)]
    texts = [text if text.strip() else "x" for text in texts]
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda text: ask(text).json(), texts))
    assert answers == [answer_to(text) for text in texts]
    assert max(len(batch) for batch in stand_in.batches) > 1


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_no_input_breaks_the_service(ask: Ask, inputs: object) -> None:
    answer = ask(inputs)
    assert answer.status_code == (200 if isinstance(inputs, list) else answer.status_code)
    assert answer.status_code in (200, 422)


def test_other_routes_are_answered_while_the_model_is_busy(ask: Ask, client: TestClient, stand_in: StandIn) -> None:
    stand_in.open.clear()
    with ThreadPoolExecutor(51) as pool:
        waiting = [pool.submit(ask, f"text {n}") for n in range(50)]
        assert stand_in.busy.wait(10)
        assert pool.submit(client.get, "/v1/models").result(5).status_code == 200
        stand_in.open.set()
        assert all(one.result(10).status_code == 200 for one in waiting)
