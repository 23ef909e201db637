"""Predict with NDJSON in and out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.inference.conftest import MadeModel
from tests.app.inference.stand_in import StandIn, answer_to

pytestmark = pytest.mark.usefixtures("use_inference")

Ask = Callable[..., Any]


@pytest.fixture
def ask(client: TestClient, model: MadeModel) -> Ask:
    def ask(body: bytes, **query: Any) -> Any:
        headers = {"Content-Type": "application/x-ndjson"}
        return client.post(f"/v1/models/{model.id}/predict", content=body, headers=headers, params=query)

    return ask


def lines(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_line_is_answered_by_a_line(ask: Ask, model: MadeModel) -> None:
    answer = ask(b'"hello"\n{"prompt": "world", "task": "mood"}\n"last"')
    assert lines(answer) == [answer_to("hello"), answer_to("world"), answer_to("last")]
    assert answer.headers["X-Model-Id"] == model.id


def test_parameters_stand_in_the_query(ask: Ask) -> None:
    (answer,) = lines(ask(json.dumps("x" * 80).encode(), top_k=1, truncation="right", annotator="ann_1"))
    assert answer == [{**answer_to("x" * 50)[0], "truncated": True}]
    assert ask(b'"hello"', temperature=1).status_code == 422
    assert ask(b'"hello"', top_k=0).status_code == 422


def test_more_lines_than_a_json_request_may_have(ask: Ask) -> None:
    texts = [f"text {n}" for n in range(3000)]
    assert lines(ask("\n".join(map(json.dumps, texts)).encode())) == [answer_to(text) for text in texts]


def test_bad_lines_have_their_errors_and_blank_ones_are_skipped(ask: Ask) -> None:
    body = b'"good"\n\nnot json\n' + b'"' + b"x" * 2**20 + b'"\n' + b"[" * 100_000 + b'\n\xff\n7\n"also good"\r\n'
    good, *bad, also_good = lines(ask(body))
    assert (good, also_good) == (answer_to("good"), answer_to("also good"))
    assert [one["error"]["code"] for one in bad] == [
        "invalid_json",
        "invalid_input",
        "invalid_json",
        "invalid_json",
        "invalid_input",
    ]
    assert bad[1]["error"]["message"] == "The line has more than 1,048,576 bytes."


def test_an_empty_body_is_answered_by_nothing(ask: Ask) -> None:
    assert lines(ask(b"")) == []
    assert lines(ask(b"\n\n")) == []


def test_what_is_wrong_with_the_whole_request_is_a_problem(ask: Ask, client: TestClient) -> None:
    assert ask(b'"hello"', annotator="eve").json()["code"] == "unknown_annotator"
    headers = {"Content-Type": "application/x-ndjson"}
    answer = client.post("/v1/models/ft:a:b:c:d/predict", content=b'"hello"', headers=headers)
    assert answer.status_code == 404


def test_later_lines_wait_for_room_and_learn_of_the_deadline(
    ask: Ask, client: TestClient, model: MadeModel, stand_in: StandIn, use_inference: Callable[..., None]
) -> None:
    use_inference(max_predict_inputs_in_flight=300)
    texts = [f"text {n}" for n in range(600)]
    stand_in.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, f"/v1/models/{model.id}/predict", json={"inputs": ["busy"] * 100})
        assert stand_in.busy.wait(10)
        refused = ask("\n".join(map(json.dumps, texts)).encode())
        assert refused.status_code == 429
        stand_in.open.set()
        assert first.result(10).status_code == 200
    assert lines(ask("\n".join(map(json.dumps, texts)).encode())) == [answer_to(text) for text in texts]


def test_lines_go_through_gzip(ask: Ask, client: TestClient, model: MadeModel) -> None:
    texts = [f"text {n}" for n in range(100)]
    headers = {"Content-Type": "application/x-ndjson", "Accept-Encoding": "gzip"}
    body = "\n".join(map(json.dumps, texts)).encode()
    with client.stream("POST", f"/v1/models/{model.id}/predict", content=body, headers=headers) as answer:
        packed = b"".join(answer.iter_raw())
    assert [json.loads(line) for line in gzip.decompress(packed).splitlines()] == [answer_to(text) for text in texts]
