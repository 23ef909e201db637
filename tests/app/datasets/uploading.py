"""Uploads for tests, in every kind of body, and what they leave in the database."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database.annotation_queries import load_annotations
from app.database.dataset_queries import find_dataset
from app.database.session import transaction
from realm_core.annotations import Annotations
from tests.conftest import ProjectKeys

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
