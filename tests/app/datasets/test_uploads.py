"""Uploading over HTTP: what every kind of body becomes, and that bad ones leave nothing behind."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database.annotation_queries import load_annotations
from app.database.dataset_queries import find_dataset
from app.database.session import transaction
from app.datasets import receiving
from app.main import create_app
from app.settings import get_settings
from realm_core.annotations import Annotations
from realm_core.formats import read_annotations
from tests.conftest import ProjectKeys

REAL_CROWDS = os.environ.get("REALM_BENCH_DATA")  # before the tests' settings take its place
CSV = 'prompt,annotator,label\n"a, ""b""\nc",ann,yes\n"a, ""b""\nc",bob,no\nd\te\\.,ann,no\n'
ROWS = list(pl.read_csv(io.BytesIO(CSV.encode())).iter_rows(named=True))
KINDS = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
}


def body(kind: str) -> bytes:
    frame = pl.DataFrame(ROWS)
    if kind == "parquet":
        file = io.BytesIO()
        frame.write_parquet(file)
        return file.getvalue()
    if kind == "json":
        return json.dumps({"annotations": ROWS}).encode()
    return (
        frame.write_ndjson() if kind == "jsonl" else frame.write_csv(separator="\t" if kind == "tsv" else ",")
    ).encode()


def upload(client: TestClient, content: Any, media_type: str = "text/csv", **query: Any) -> Any:
    return client.post("/v1/datasets", content=content, headers={"Content-Type": media_type}, params=query)


def created(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def loaded(project: ProjectKeys, dataset_id: str) -> Annotations:
    with transaction() as session:
        dataset = find_dataset(session, project.id, dataset_id)
        assert dataset is not None
        return load_annotations(session, dataset.key, 1).annotations


def everything_kept() -> list[tuple[Any, ...]]:
    """All that an upload could leave in the database."""
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(items|annotations)_' ORDER BY 1"
    counts = "SELECT (SELECT count(*) FROM datasets), (SELECT count(*) FROM annotators), (SELECT count(*) FROM items)"
    with transaction() as session:
        return [tuple(row) for query in (tables, counts) for row in session.execute(text(query))]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_body_says_the_same(
    client: TestClient, project: ProjectKeys, tmp_path: Path, kind: str, compressed: bool
) -> None:
    data = gzip.compress(body(kind)) if compressed else body(kind)
    made = created(upload(client, data, KINDS[kind], name="crowd"))
    assert made["counts"]["labels"] == 3
    path = tmp_path / "crowd.csv"
    path.write_text(CSV)
    here, there = read_annotations(path), loaded(project, made["id"])
    assert there.prompts == here.prompts == ('a, "b"\nc', "d\te\\.")
    assert there.tasks == here.tasks
    np.testing.assert_array_equal(there.label, here.label)
    np.testing.assert_array_equal(there.item, here.item)


def test_the_hash_is_that_of_what_is_said(client: TestClient) -> None:
    hashes = {created(upload(client, body(kind), KINDS[kind]))["sha256"] for kind in KINDS}
    assert len(hashes) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_forms(client: TestClient, kind: str) -> None:
    parts = {"name": "crowd", "labels": '{"yes": "it is", "no": "it is not"}'}
    made = created(client.post("/v1/datasets", files={"file": (f"rows.{kind}", body(kind))}, data=parts))
    assert made["name"] == "crowd"
    assert made["tasks"] == [
        {
            "name": "default",
            "declared": True,
            "answers": [{"name": "yes", "description": "it is"}, {"name": "no", "description": "it is not"}],
        }
    ]


def test_what_an_upload_is_answered_with(client: TestClient) -> None:
    rows = CSV + "x,ann,no\nx,ann,no\nx,ann,yes\ny,bob,unsure\nz,,no\n"
    made = created(upload(client, rows, name=" crowd ", on_error="skip", ignore_labels='["unsure"]'))
    assert made | {"id": "", "created_at": 0, "sha256": ""} == {
        "id": "",
        "object": "dataset",
        "name": "crowd",
        "created_at": 0,
        "version": 1,
        "sha256": "",
        "has_text": True,
        "counts": {
            "rows": 8,
            "labels": 4,
            "items": 3,
            "annotators": 2,
            "identical_repeats": 0,
            "conflicting_repeats": 2,
            "ignored": 1,
            "rejected": 1,
            "added": 4,
            "superseded": 0,
        },
        "tasks": [
            {
                "name": "default",
                "declared": False,
                "answers": [{"name": "no", "description": "no"}, {"name": "yes", "description": "yes"}],
            }
        ],
        "recognised": None,
        "warnings": [],
        "errors": [{"row": 9, "column": "annotator", "code": "empty_annotator", "detail": "The annotator is empty."}],
    }
    assert made["id"].startswith("ds_")
    assert len(made["sha256"]) == 64


def test_all_that_is_known_of_a_label_comes_back(client: TestClient, project: ProjectKeys) -> None:
    header = "item_id,prompt,annotator,label,task,options,gold,created_at,duration_ms,cost\n"
    rows = [
        'i1,p,ann,B,qa,"[""red"",""blue""]",red,2026-01-01T00:00:00.25Z,1500,0.5',
        "i2,q,ann,yes,yn,,,,,",
        "i3,r,bob,no,yn,,yes,,7,",
        "i3,r,ann,no,yn,,,1767225600,,0.25",
    ]
    made = created(upload(client, header + "\n".join(rows)))
    annotations = loaded(project, made["id"])
    assert annotations.options == (("red", "blue"), None, None)
    assert annotations.gold is not None
    assert annotations.gold.tolist() == [0, -1, 1]
    np.testing.assert_array_equal(annotations.created_at, [1767225600.25, np.nan, 1767225600, np.nan])
    export = client.get(f"/v1/datasets/{made['id']}/annotations")
    assert export.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in export.headers["Content-Disposition"]
    again = created(upload(client, export.content))
    assert again["sha256"] == made["sha256"]


def test_the_export_is_safe_for_spreadsheets(client: TestClient) -> None:
    made = created(upload(client, "prompt,annotator,label\n=1+1,@ann,-1\n+cmd|x,\tbob,+yes\n"))
    rows = client.get(f"/v1/datasets/{made['id']}/annotations").text.splitlines()[1:]
    assert "'=1+1" in rows[0]
    assert "'@ann,-1," in rows[0]
    assert "'+cmd|x" in rows[1]
    assert "'\tbob,'+yes" in rows[1]


def test_data_without_text_keeps_its_ids(client: TestClient, project: ProjectKeys) -> None:
    made = created(upload(client, "item_id,annotator,label\n1,ann,yes\n2,ann,no\n"))
    assert made["has_text"] is False
    assert loaded(project, made["id"]).prompts is None
    assert loaded(project, made["id"]).item_ids == ("1", "2")


def test_hostile_text_is_only_text(client: TestClient, project: ProjectKeys) -> None:
    prompts = ["\\N", "\\.", "a\n\\.\nb", "'; DROP TABLE items; --", "<script>", "\\t\\", "\u2028x", "a\rb\r", '"\\"']
    rows = [{"prompt": prompt, "annotator": prompt, "label": prompt} for prompt in prompts]
    made = created(client.post("/v1/datasets", json={"annotations": rows}))
    annotations = loaded(project, made["id"])
    assert annotations.prompts == tuple(prompts)
    assert sorted(annotations.tasks[0].answers) == sorted(prompts)


def test_annotators_are_one_per_project(client: TestClient, project: ProjectKeys) -> None:
    for _ in range(2):
        created(upload(client, CSV))
    with transaction() as session:
        query = text("SELECT name FROM annotators WHERE project_id = :id ORDER BY name")
        assert session.execute(query, {"id": project.id}).scalars().all() == ["ann", "bob"]


# Bad uploads


def truncated_parquet() -> bytes:
    return body("parquet")[:-20]


BAD_UPLOADS: dict[str, tuple[Any, str, dict[str, str], int, str, int | None]] = {
    "a missing column": ("text,annotator,label\np,a,l\n", "csv", {}, 422, "missing_column", None),
    "an empty label": (CSV + "e,ann,\n", "csv", {}, 422, "invalid_rows", 5),
    "an unknown label": (CSV + "e,ann,maybe\n", "csv", {"labels": '["yes", "no"]'}, 422, "invalid_rows", 5),
    "invalid UTF-8": (CSV.encode() + b"e,ann,\xff\n", "csv", {}, 422, "invalid_rows", 5),
    "truncated gzip": (gzip.compress(CSV.encode())[:-9], "csv", {}, 422, "truncated_gzip", None),
    "truncated Parquet": (truncated_parquet(), "parquet", {}, 422, "invalid_parquet", None),
    "no Parquet": (CSV, "parquet", {}, 422, "invalid_parquet", None),
    "an empty file": ("", "csv", {}, 422, "empty_file", None),
    "an empty Parquet": ("", "parquet", {}, 422, "empty_file", None),
    "two texts of one item": (
        "item_id,prompt,annotator,label\n1,p,ann,yes\n1,q,bob,yes\n",
        "csv",
        {},
        422,
        "invalid_rows",
        3,
    ),
    "NUL": (CSV + "e\0,ann,yes\n", "csv", {}, 422, "invalid_rows", 5),
    "labels that are none": (CSV, "csv", {"labels": "[1]"}, 422, "invalid_labels", None),
    "no JSON": ("{", "json", {}, 400, "invalid_json", None),
    "JSON of another shape": ('"rows"', "json", {}, 400, "invalid_json", None),
    "no rows in JSON": ('{"annotations": []}', "json", {}, 422, "no_rows", None),
    "a bad row in JSON": ('[{"prompt": "p", "annotator": "a"}]', "json", {}, 422, "missing_column", None),
    "a field unknown in JSON": ('{"annotations": [], "anotations": []}', "json", {}, 422, "invalid_request", None),
    "a parameter unknown": (CSV, "csv", {"label": "[]"}, 422, "invalid_request", None),
    "a mapping that is no JSON": (CSV, "csv", {"mapping": "worker"}, 422, "invalid_request", None),
    "a name with NUL": (CSV, "csv", {"name": "a\0"}, 422, "invalid_request", None),
}


@pytest.mark.parametrize("case", BAD_UPLOADS)
def test_a_bad_upload_is_explained_and_leaves_nothing(client: TestClient, case: str) -> None:
    content, kind, query, status, code, row = BAD_UPLOADS[case]
    before = everything_kept()
    answer = upload(client, content, KINDS[kind], **query)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["detail"]
    if row is not None:
        assert [error["row"] for error in problem["errors"]] == [row]
    assert everything_kept() == before
    assert client.get("/v1/datasets").json()["data"] == []


def test_rows_that_were_stored_already_go_too(client: TestClient) -> None:
    """The fault stands in the last block, when the items of the first are in Postgres."""
    before = everything_kept()
    rows = "".join(f"{number} {'x' * 500},ann,yes\n" for number in range(40_000))
    answer = upload(client, f"prompt,annotator,label\n{rows}p,,yes\n")
    assert (answer.status_code, answer.json()["errors"][0]["row"]) == (422, 40_002)
    assert everything_kept() == before


@pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", ""])
def test_other_media_types_are_refused(client: TestClient, media_type: str) -> None:
    answer = upload(client, CSV, media_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "text/csv" in answer.json()["detail"]


def test_a_form_without_a_file(client: TestClient) -> None:
    answer = client.post("/v1/datasets", files={"name": (None, "crowd")})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_one_annotator_is_accepted_with_a_warning(client: TestClient) -> None:
    made = created(upload(client, "prompt,annotator,label\np,ann,yes\nq,ann,no\n"))
    assert [warning["code"] for warning in made["warnings"]] == ["one_annotator"]


def test_a_viewer_uploads_nothing(client: TestClient, project: ProjectKeys) -> None:
    client.headers["Authorization"] = f"Bearer {project.viewer_key}"
    assert upload(client, CSV).status_code == 403


# While it arrives

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


REAL_SETS = [
    ("crowd/snow_rte", 800, 164, 8000),
    ("crowd/amazon_isbook", 1000, 263, 4907),
    ("crowd_notext/dog", 807, 109, 8070),
]


@pytest.mark.skipif(REAL_CROWDS is None, reason="REALM_BENCH_DATA names the folder of real crowds")
@pytest.mark.parametrize(("name", "items", "annotators", "labels"), REAL_SETS)
def test_real_crowds(client: TestClient, name: str, items: int, annotators: int, labels: int) -> None:
    assert REAL_CROWDS is not None
    data = (Path(REAL_CROWDS) / f"{name}.csv.gz").read_bytes()
    counts = created(upload(client, data))["counts"]
    assert (counts["items"], counts["annotators"], counts["labels"]) == (items, annotators, labels)


def test_the_indexes_of_an_upload_are_those_of_the_whole_table(client: TestClient) -> None:
    """Postgres would else have built them anew, against live rows, when the dataset became a part of it."""
    created(upload(client, CSV.encode(), "text/csv"))
    built = "SELECT count(*) FROM pg_index WHERE indrelid = (:table)::regclass"
    with transaction() as session:
        key = session.execute(text("SELECT max(key) FROM datasets")).scalar_one()
        for table in ("items", "annotations"):
            parent, part = (
                session.execute(text(built), {"table": name}).scalar_one() for name in (table, f"{table}_{key}")
            )
            assert part == parent, table
