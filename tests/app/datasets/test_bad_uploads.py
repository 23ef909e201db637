"""Bad uploads over HTTP: each is explained, and leaves nothing behind."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.datasets.uploading import CSV, KINDS, body, everything_kept, upload


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
