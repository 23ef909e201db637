"""Uploads while they arrive: endless, too large, slow, broken off, and two at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database.session import transaction
from app.datasets import receiving
from app.main import create_app
from app.settings import get_settings
from tests.app.datasets.uploading import everything_kept, upload
from tests.conftest import ProjectKeys

Receive = Callable[[], Awaitable[dict[str, Any]]]


async def call(app: FastAPI, project: ProjectKeys, method: str, receive: Receive) -> tuple[int, Any]:
    """The status and the JSON of an answer to a request whose body is asked for piece by piece."""
    headers = {"authorization": f"Bearer {project.admin_key}", "host": "localhost", "content-type": "text/csv"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/v1/datasets",
        "raw_path": b"/v1/datasets",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    status, content = 0, b""

    async def send(message: Any) -> None:
        nonlocal status, content
        status = message.get("status", status)
        content += message.get("body", b"")

    await app(scope, receive, send)
    return status, json.loads(content)


async def nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_line_without_end_is_refused_early_with_flat_memory(client: TestClient, project: ProjectKeys) -> None:
    """Of a line of a gigabyte no more is read than a block, and what was on its way."""
    sent = 0

    async def endless() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        return piece(b"prompt,annotator,label\n" if sent == 1 else b"x" * 64 * 1024, more=sent < 16 * 1024)

    before = psutil.Process().memory_info().rss
    status, problem = asyncio.run(call(create_app(), project, "POST", endless))
    assert (status, problem["code"], problem["errors"][0]["row"]) == (413, "record_too_long", 2)
    assert sent * 64 * 1024 < 20 * 1024**2
    assert psutil.Process().memory_info().rss - before < 100 * 1024**2


def test_a_body_beyond_the_limit_is_refused_while_it_arrives(
    client: TestClient, project: ProjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything_kept()
    monkeypatch.setattr(get_settings(), "max_upload_bytes", 10 * 1024**2)

    async def much() -> dict[str, Any]:
        return piece(b"prompt,annotator,label\n" + b"p,ann,yes\n" * 100_000)

    status, problem = asyncio.run(call(create_app(), project, "POST", much))
    assert (status, problem["code"]) == (413, "payload_too_large")
    assert everything_kept() == before


def test_an_upload_leaves_the_loop_free_for_others(client: TestClient, project: ProjectKeys) -> None:
    answers = asyncio.run(upload_slowly(project, last=piece(b"z,ann,yes\n", more=False)))
    assert answers == [200, 201]


def test_a_client_that_goes_away_leaves_nothing(client: TestClient, project: ProjectKeys) -> None:
    before = everything_kept()
    assert asyncio.run(upload_slowly(project, last={"type": "http.disconnect"})) == [200, 400]
    assert everything_kept() == before


def test_a_client_that_falls_silent_is_let_go(
    client: TestClient, project: ProjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_SECONDS_OF_SILENCE", 0.2)

    async def silent() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    status, problem = asyncio.run(call(create_app(), project, "POST", silent))
    assert (status, problem["code"]) == (400, "upload_stalled")


async def upload_slowly(project: ProjectKeys, *, last: dict[str, Any]) -> list[int]:
    """Send most of a file, ask for something else meanwhile, and then send the `last` message. Both statuses."""
    app, asked = create_app(), asyncio.Event()
    rows = b"".join(f"{number} {'x' * 200},ann,yes\n".encode() for number in range(60_000))
    messages = [last, piece(b"prompt,annotator,label\n" + rows)]

    async def slowly() -> dict[str, Any]:
        if len(messages) == 1:
            await asyncio.wait_for(asked.wait(), 30)
        return messages.pop()

    sending = asyncio.create_task(call(app, project, "POST", slowly))
    while len(messages) == 2:
        await asyncio.sleep(0.01)
    between, _ = await call(app, project, "GET", nothing)
    asked.set()
    status, _ = await sending
    return [between, status]


def test_two_uploads_of_the_same_annotators_at_once(client: TestClient, project: ProjectKeys) -> None:
    """Neither waits for ever for the other, and each annotator is made once."""
    names = [f"worker {number}" for number in range(500)]
    orders = [names, names[::-1]]
    statuses: list[int] = []

    def send(order: list[str]) -> None:
        data = "prompt,annotator,label\n" + "".join(f"p,{name},{name[-1]}\n" for name in order)
        statuses.append(upload(client, data).status_code)

    threads = [threading.Thread(target=send, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [201, 201]
    with transaction() as session:
        query = text("SELECT count(*) FROM annotators WHERE project_id = :id")
        assert session.execute(query, {"id": project.id}).scalar_one() == 500
