"""What errors look like: RFC 9457, mirrored for clients that speak OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database.session import transaction
from app.errors import Conflict, ErrorItem, TooManyRequests
from app.middleware import RequestContext
from app.problems import install_problem_handlers, internal_error


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    steps: int
    deep: dict[str, int] = {}


JSON = {"Content-Type": "application/json"}


def small_app() -> FastAPI:
    """Each error in the smallest application that can have it; no database behind it."""
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(RequestContext)

    @app.post("/body")
    def body(body: Body) -> None: ...

    @app.get("/conflict")
    def conflict() -> None:
        rows = (ErrorItem("label_unknown", "'cat' is no answer", row=3, column="label"),)
        raise Conflict("It is in use.", code="in_use", param="dataset", errors=rows, headers={"Retry-After": "7"})

    @app.get("/busy")
    def busy() -> None:
        raise TooManyRequests("Slow down.")

    @app.get("/bug")
    def bug() -> None:
        raise KeyError("the secret of somebody")

    @app.get("/database-gone")
    def database_gone() -> None:
        create_engine("postgresql+psycopg://realm@127.0.0.1:1/realm").connect()

    @app.get("/pool-empty")
    def pool_empty() -> None:
        raise PoolTimeout("QueuePool limit of size 10 overflow 30 reached")

    return app


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(small_app()) as client:
        yield client


def check_shape(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(body) == {
        "type", "title", "status", "detail", "instance", "code", "request_id", "errors", "error",
    }  # fmt: skip
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:realm:problem:{code}")
    assert body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["error"]["message"] == body["detail"]
    assert body["error"]["code"] == code
    return body


def test_an_error_of_ours(client: TestClient) -> None:
    answer = client.get("/conflict")
    body = check_shape(answer, 409, "in_use")
    assert body["title"] == "Conflict"
    assert body["errors"] == [{"row": 3, "column": "label", "code": "label_unknown", "detail": "'cat' is no answer"}]
    assert body["error"] == {
        "message": "It is in use.", "type": "invalid_request_error", "param": "dataset", "code": "in_use",
    }  # fmt: skip
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "type_"),
    [
        ("GET", "/nowhere", 404, "not_found", "invalid_request_error"),
        ("GET", "/body", 405, "method_not_allowed", "invalid_request_error"),
        ("GET", "/busy", 429, "too_many_requests", "rate_limit_error"),
        ("GET", "/database-gone", 503, "unavailable", "server_error"),
        ("GET", "/pool-empty", 503, "unavailable", "server_error"),
    ],
)
def test_other_errors(client: TestClient, method: str, path: str, status: int, code: str, type_: str) -> None:
    body = check_shape(client.request(method, path), status, code)
    assert body["error"]["type"] == type_


def test_what_the_method_should_have_been_is_told(client: TestClient) -> None:
    assert client.get("/body").headers["Allow"] == "POST"


def test_every_fault_of_a_body_is_named(client: TestClient) -> None:
    answer = client.post("/body", json={"steps": "many", "deep": {"a": "b"}, "stpes": 3})
    body = check_shape(answer, 422, "invalid_request")
    assert [item["column"] for item in body["errors"]] == ["steps", "deep.a", "stpes"]
    assert body["error"]["param"] == "steps"
    assert body["detail"].startswith("steps: Input should be a valid integer")
    check_shape(
        client.post("/body", content=b"{", headers={"Content-Type": "application/json"}), 422, "invalid_request"
    )
    check_shape(client.post("/body"), 422, "invalid_request")


def test_a_bug_shows_nothing_but_the_id_to_find_it_by(client: TestClient) -> None:
    answer = client.get("/bug", headers={"X-Request-Id": "find-me"})
    body = check_shape(answer, 500, "internal_error")
    assert "find-me" in body["detail"]
    assert "secret" not in answer.text


def test_openais_client_understands_them(client: TestClient) -> None:
    def ask(request: httpx2.Request) -> httpx2.Response:
        answer = client.request(request.method, request.url.path, content=request.read())
        return httpx2.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    with openai.OpenAI(
        api_key="-",
        base_url="http://realm",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(ask)),
    ) as theirs:
        with pytest.raises(openai.ConflictError, match="It is in use") as conflict:
            theirs.get("/conflict", cast_to=object)
        assert (conflict.value.code, conflict.value.param) == ("in_use", "dataset")
        with pytest.raises(openai.RateLimitError):
            theirs.get("/busy", cast_to=object)


def test_a_request_object_is_all_that_a_problem_needs() -> None:
    """The error of a request that no handler saw: nothing but the middleware's id is known of it."""
    request = Request({"type": "http", "path": "/x", "headers": [], "state": {"request_id": "id-1"}})
    assert b"id-1" in internal_error(request).body


def test_what_postgres_cannot_keep_is_refused(client: TestClient, services: object) -> None:
    app = small_app()

    @app.get("/store")
    def store(value: str) -> None:
        with transaction() as session:
            session.execute(text("SELECT CAST(:value AS text)"), {"value": value})

    @app.post("/store")
    def store_each(values: list[str]) -> None:
        store(values[0])

    with TestClient(app) as with_database:
        assert with_database.get("/store", params={"value": "fine"}).status_code == 200
        check_shape(with_database.get("/store", params={"value": "a\0b"}), 422, "not_storable")
        half_a_character = with_database.post("/store", content=rb'["\ud87e"]', headers=JSON)
        check_shape(half_a_character, 422, "not_storable")
