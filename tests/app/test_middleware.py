"""What surrounds every request: ids, headers, host names and the size of bodies."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from app.main import MAX_BODY_BYTES, STREAMED_BODIES, create_app
from app.middleware import AllowedHosts, BodyLimit, RequestContext
from app.observability import metrics_text
from app.problems import install_problem_handlers
from app.settings import get_settings
from tests.conftest import ProjectKeys

LIMIT, STREAMED_LIMIT = 100, 1000


def small_app() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(BodyLimit, limit=LIMIT, streamed_limit=STREAMED_LIMIT, streamed=re.compile(r"/streamed/[^/]+"))
    app.add_middleware(AllowedHosts, names=frozenset({"localhost", "[::1]"}))
    app.add_middleware(RequestContext)

    @app.post("/whole")
    def whole(body: dict[str, Any]) -> int:
        return len(body)

    @app.post("/streamed/{name}")
    async def streamed(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.get("/half")
    def half() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"begun"
            raise RuntimeError("broken in the middle")

        return StreamingResponse(pieces())

    @app.get("/nonce")
    def nonce(request: Request) -> str:
        return str(request.state.csp_nonce)

    @app.get("/items/{item}")
    def item(item: str) -> str:
        return item

    return app


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(small_app(), base_url="http://localhost") as client:
        yield client


def chunked(size: int) -> Iterator[bytes]:
    for _ in range(size // 10):
        yield b"x" * 10


@pytest.mark.parametrize("path", ["/items/a", "/nowhere", "/half-way/there"])
def test_security_headers_are_on_every_answer(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert policy.count("'unsafe-inline'") == 1
    assert "style-src-attr 'unsafe-inline'" in policy


def test_the_nonce_is_new_each_time_and_the_one_of_the_header(client: TestClient) -> None:
    first, second = client.get("/nonce"), client.get("/nonce")
    assert first.json() != second.json()
    assert f"'nonce-{first.json()}'" in first.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("two words", False), ("", False), ("a\tb", False)],
)
def test_a_request_id_is_kept_when_it_is_harmless(client: TestClient, given: str, kept: bool) -> None:
    answered = client.get("/items/a", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert (answered == given) is kept
    assert re.fullmatch(r"[\w.-]{1,64}", answered)


def test_an_answer_that_breaks_off_is_not_made_to_look_whole(client: TestClient) -> None:
    with pytest.raises(RuntimeError, match="broken in the middle"):
        client.get("/half")


def test_metrics_count_by_route_and_not_by_path(client: TestClient, services: object) -> None:
    client.get("/items/a-very-special-one")
    metrics, _ = metrics_text()
    assert b'route="/items/{item}",status="200"' in metrics
    assert b"a-very-special-one" not in metrics


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000"])
def test_known_hosts(client: TestClient, host: str) -> None:
    assert client.get("/items/a", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:localhost", "[::2]", ""])
def test_unknown_hosts(client: TestClient, host: str) -> None:
    answer = client.get("/items/a", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_host")
    assert "REALM_PUBLIC_URL" in answer.json()["detail"]


def test_the_public_url_makes_its_host_known(monkeypatch: pytest.MonkeyPatch, services: object) -> None:
    monkeypatch.setenv("REALM_PUBLIC_URL", "https://realm.example/")
    get_settings.cache_clear()
    try:
        with TestClient(create_app(), base_url="https://realm.example") as client:
            assert client.get("/livez").status_code == 200
            assert client.get("/livez", headers={"Host": "other.example"}).status_code == 400
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/whole", 10 * LIMIT, 413),
        ("/streamed/a", 10 * LIMIT, 200),
        ("/streamed/a", 2 * STREAMED_LIMIT, 413),
        ("/streamed/a/b", 10 * LIMIT, 404),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_the_size_of_bodies(client: TestClient, path: str, size: int, status: int, declared: bool) -> None:
    content = b"x" * size if declared else chunked(size)
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    if status == 413:
        assert answer.json()["code"] == "payload_too_large"
        assert "larger than the 1" in answer.json()["detail"]


def test_a_declared_length_is_refused_before_anything_is_read(client: TestClient) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("read although it was known to be too large")
        yield b""

    headers = {"Content-Length": str(STREAMED_LIMIT + 1)}
    assert client.post("/streamed/a", content=never(), headers=headers).status_code == 413


def test_a_body_may_be_as_large_as_the_limit(client: TestClient) -> None:
    assert client.post("/streamed/a", content=b"x" * STREAMED_LIMIT).json() == STREAMED_LIMIT


@pytest.mark.parametrize(
    ("path", "streamed"),
    [
        ("/v1/datasets", True),
        ("/v1/datasets/ds_1/annotations", True),
        ("/v1/files", True),
        ("/v1/models/ft:minilm:p:s:1/predict", True),
        ("/v1/datasets/ds_1", False),
        ("/v1/fine_tuning/jobs", False),
        ("/login", False),
    ],
)
def test_which_bodies_are_streamed(path: str, streamed: bool) -> None:
    assert (STREAMED_BODIES.fullmatch(path) is not None) is streamed


def test_the_real_application_has_a_low_limit_where_bodies_are_read_whole(client: TestClient, services: object) -> None:
    with TestClient(create_app(), base_url="http://localhost") as real:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = real.post("/login", content=b"key=" + b"x" * MAX_BODY_BYTES, headers=form)
        assert answer.status_code == 413


def packed(real: TestClient, body: bytes, key: str, encoding: str = "gzip") -> Any:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return real.post("/v1/api_keys", content=body, headers=headers)


@pytest.fixture
def real(services: object) -> Iterator[TestClient]:
    with TestClient(create_app(), base_url="http://localhost") as client:
        yield client


def test_json_may_come_as_gzip(real: TestClient, project: ProjectKeys) -> None:
    answer = packed(real, gzip.compress(b'{"name": "packed"}'), project.admin_key)
    assert (answer.status_code, answer.json()["name"]) == (201, "packed")


@pytest.mark.parametrize(
    ("body", "encoding", "status", "detail"),
    [
        (gzip.compress(b"{}")[:-9], "gzip", 400, "ends too early"),
        (b"{}", "gzip", 400, "damaged"),
        (b"", "gzip", 400, "ends too early"),
        (gzip.compress(b"{}") + b"{}", "gzip", 400, "follows the gzip"),
        (gzip.compress(b" " * (MAX_BODY_BYTES + 1)), "gzip", 413, "too large when it is unpacked"),
        (b"{}", "br", 415, "'br' is not read here"),
    ],
)
def test_bodies_that_cannot_be_unpacked(
    real: TestClient, project: ProjectKeys, body: bytes, encoding: str, status: int, detail: str
) -> None:
    answer = packed(real, body, project.admin_key, encoding)
    assert answer.status_code == status, answer.text
    assert detail in answer.json()["detail"]


def test_nothing_is_unpacked_for_nobody(real: TestClient) -> None:
    assert packed(real, gzip.compress(b"{}"), "wrong").status_code == 401
