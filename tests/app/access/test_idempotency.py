"""Idempotency-Key: what comes again is answered as the first time, and made once."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update
from starlette.types import Message

from app.access.idempotency import ReceivedBody
from app.database.session import transaction
from app.database.tables import StoredAnswer
from tests.conftest import ProjectKeys

CSV = "annotator,label,prompt\nana,yes,sky\nbo,no,sky\n"


def key(name: str = "once") -> dict[str, str]:
    return {"Idempotency-Key": name}


def upload(client: TestClient, body: Any = CSV, name: str = "once", query: str = "") -> httpx.Response:
    answer: httpx.Response = client.post(
        f"/v1/datasets{query}", content=body, headers={"Content-Type": "text/csv", **key(name)}
    )
    return answer


def n_datasets(client: TestClient) -> int:
    return len(client.get("/v1/datasets").json()["data"])


def job(client: TestClient) -> httpx.Response:
    dataset = client.get("/v1/datasets").json()["data"][0]["id"]
    body = {"dataset": dataset, "method": {"type": "aggregation"}}
    answer: httpx.Response = client.post("/v1/fine_tuning/jobs", json=body, headers=key("a job"))
    return answer


def form(client: TestClient) -> httpx.Response:
    files = {"file": ("labels.csv", io.BytesIO(CSV.encode()), "text/csv")}
    boundary = f"multipart/form-data; boundary={os.urandom(8).hex()}"
    answer: httpx.Response = client.post(
        "/v1/files", files=files, data={"purpose": "fine-tune"}, headers={**key("form"), "Content-Type": boundary}
    )
    return answer


@pytest.mark.parametrize("call", [upload, job, form])
def test_a_request_that_comes_again_is_answered_as_before(
    client: TestClient, call: Callable[[TestClient], httpx.Response]
) -> None:
    upload(client, name="there is data")
    first, again = call(client), call(client)
    assert first.status_code == again.status_code == 201, again.text
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert again.headers["Content-Type"] == "application/json"
    assert n_datasets(client) == (1 if call is job else 2)
    assert len(client.get("/v1/fine_tuning/jobs").json()["data"]) == (call is job)


def test_a_body_in_pieces_is_the_same_body(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for letter in CSV:
            yield letter.encode()

    assert upload(client, pieces()).json() == upload(client).json()
    assert n_datasets(client) == 1


@pytest.mark.parametrize("other", [{"body": CSV + "cy,no,sky\n"}, {"query": "?name=other"}])
def test_another_request_with_the_same_key_is_refused(client: TestClient, other: dict[str, Any]) -> None:
    upload(client)
    answer = upload(client, **other)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert client.post("/v1/api_keys", json={}, headers=key()).json()["code"] == "idempotency_key_reused"
    assert n_datasets(client) == 1


def test_a_request_that_failed_may_be_tried_again(client: TestClient) -> None:
    assert upload(client, "annotator,label\n").status_code == 422
    assert upload(client).status_code == 201


def test_keys_of_other_callers_are_other_keys(client: TestClient, project: ProjectKeys) -> None:
    first = upload(client).json()["id"]
    client.headers["Authorization"] = f"Bearer {project.editor_key}"
    assert upload(client).json()["id"] != first


def test_a_secret_is_not_kept_and_not_shown_again(client: TestClient) -> None:
    first, again = (client.post("/v1/api_keys", json={"name": "ci"}, headers=key()).json() for _ in range(2))
    assert first["key"].startswith("realm_")
    assert again == first | {"key": None}
    with transaction() as session:
        kept = session.execute(text("SELECT string_agg(convert_from(answer, 'UTF8'), '') FROM stored_answers")).scalar()
    assert first["key"] not in kept


def test_after_a_day_the_key_is_free(client: TestClient, project: ProjectKeys) -> None:
    first = upload(client).json()["id"]
    upload(client, name="another")
    with transaction() as session:
        session.execute(update(StoredAnswer).values(created_at=func.now() - timedelta(hours=25)))
    again = upload(client)
    assert again.json()["id"] != first
    assert upload(client).headers["Idempotency-Replayed"] == "true"
    with transaction() as session:
        assert session.execute(select(func.count()).select_from(StoredAnswer)).scalar_one() == 1


def test_while_the_first_is_being_worked_on_the_second_waits(live_url: str, project: ProjectKeys) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[bytes]:
        yield CSV.encode()
        assert go_on.wait(10)

    def send(body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {project.admin_key}", "Content-Type": "text/csv", **key()}
        return httpx.post(f"{live_url}/v1/datasets", content=body, headers=headers)

    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(send, slow())
        while not key_is_claimed():
            time.sleep(0.01)
        second = send(CSV)
        go_on.set()
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_use")
        assert second.headers["Retry-After"] == "1"
        made = first.result().json()
    assert send(CSV).json() == made


def key_is_claimed() -> bool:
    with transaction() as session:
        return bool(session.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one())


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_keys_have_1_to_255_characters(client: TestClient, name: str) -> None:
    assert upload(client, name=name).status_code == 422


@given(st.lists(st.binary(max_size=30)), st.lists(st.binary(max_size=30)), st.data())
def test_the_digest_of_a_form_does_not_depend_on_its_boundary_or_pieces(
    before: list[bytes], after: list[bytes], data: st.DataObject
) -> None:
    def digest(boundary: bytes) -> bytes:
        body = boundary.join([*before, b"|", *after])
        cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        messages.append({"type": "http.request"})

        async def receive() -> Message:
            return messages.pop(0)

        body_type = f'multipart/form-data; boundary="{boundary.decode()}"'
        return anyio.run(ReceivedBody(receive, body_type, with_digest=True).digest)

    assert digest(b"----first-boundary") == digest(b"----another-one---")
