"""Cleaned labels in the shapes that other tools read back, and annotators by pseudonym."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import polars as pl
import pytest

from tests.app.reports.conftest import ReportApi
from tests.finished_jobs import HOSTILE_PROMPT, N_ITEMS


def download(report: ReportApi, name: str, status: int = 200, **query: str) -> bytes:
    answer = report.client.get(f"/v1/fine_tuning/jobs/{report.job.id}/export/{name}", params=query)
    assert answer.status_code == status, answer.text
    return answer.content


@pytest.fixture(scope="module")
def labels(report: ReportApi) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(download(report, "labels.json"))
    return rows


def expected(shape: str, row: dict[str, Any]) -> dict[str, Any]:
    """A label as each tool's documentation has it."""
    item, text, label, sure = row["item_id"], row["prompt"], row["label"], row["probability"]
    result = {"from_name": "default", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {
        "crowd-kit": {"task": item, "label": label},
        "label-studio": {
            "data": {"text": text, "item_id": item},
            "predictions": [{"model_version": "realm", "score": sure, "result": [result]}],
        },
        "argilla": {
            "id": item,
            "text": text,
            "label.suggestion": label,
            "label.suggestion.score": sure,
            "label.suggestion.agent": "realm",
            "task": "default",
        },
        "doccano": {"text": text, "label": [label], "item_id": item, "task": "default"},
        "prodigy": {
            "text": text,
            "label": label,
            "answer": "accept",
            "meta": {"item_id": item, "task": "default", "probability": sure},
        },
        "cleanlab": {
            "id": item,
            "text": text,
            "consensus_label": label,
            "consensus_quality_score": sure,
            "task": "default",
        },
        "hugging-face": {"id": item, "text": text, "label": label, "task": "default"},
    }[shape]


@pytest.mark.parametrize(
    "shape", ["crowd-kit", "label-studio", "argilla", "doccano", "prodigy", "cleanlab", "hugging-face"]
)
def test_labels_as_json_that_a_tool_reads_back(report: ReportApi, labels: list[dict[str, Any]], shape: str) -> None:
    found = json.loads(download(report, "labels.json", shape=shape))
    assert found == [expected(shape, row) for row in labels]
    assert len(found) == N_ITEMS


@pytest.mark.parametrize("shape", ["crowd-kit", "argilla", "cleanlab", "hugging-face"])
def test_labels_as_tables_that_a_tool_reads_back(report: ReportApi, labels: list[dict[str, Any]], shape: str) -> None:
    rows = [expected(shape, row) for row in labels]
    parquet = pl.read_parquet(io.BytesIO(download(report, "labels.parquet", shape=shape)))
    assert parquet.to_dicts() == rows
    table = list(csv.DictReader(io.StringIO(download(report, "labels.csv", shape=shape).decode())))
    assert table == [{name: str(value) for name, value in row.items()} for row in rows]
    assert HOSTILE_PROMPT.startswith("<")


@pytest.mark.parametrize(
    ("name", "shape", "detail"),
    [
        ("labels.csv", "label-studio", "label-studio reads these labels as json, not as csv."),
        ("labels.parquet", "prodigy", "prodigy reads these labels as json, not as parquet."),
        ("items.json", "crowd-kit", "Only labels have the shapes of other tools."),
        ("labels.json", "excel", "Input should be"),
    ],
)
def test_what_no_tool_reads_is_refused(report: ReportApi, name: str, shape: str, detail: str) -> None:
    problem = json.loads(download(report, name, 422, shape=shape))
    assert detail in problem["detail"]
    assert problem["error"]["param"] == "shape"


def test_pseudonyms_stand_for_names_everywhere(report: ReportApi) -> None:
    named = json.loads(download(report, "annotators.json"))
    names = {row["annotator"] for row in named}
    for path in ("annotators.csv", "annotators.json", "items.csv", "items.json"):
        text = download(report, path, pseudonyms="true").decode()
        assert not any(json.dumps(name, ensure_ascii=False) in text for name in names if len(name) > 3)
    hidden = json.loads(download(report, "annotators.json", pseudonyms="true"))
    assert [{**row, "annotator": row["id"]} for row in named] == hidden
    (item, *_) = json.loads(download(report, "items.json", pseudonyms="true"))
    assert {vote["annotator"] for vote in item["votes"]} <= {row["id"] for row in named}
    assert {row["annotator"] for row in report.get("annotators", pseudonyms=True)["data"]} <= {
        row["id"] for row in named
    }


def test_the_labels_as_they_came_by_pseudonym(report: ReportApi) -> None:
    url = f"/v1/datasets/{report.job.dataset_id}/annotations"
    ids = {row["annotator"]: row["id"] for row in json.loads(download(report, "annotators.json"))}
    plain, hidden = (
        [json.loads(line) for line in report.client.get(url, params=query).text.splitlines()]
        for query in ({"format": "jsonl"}, {"format": "jsonl", "pseudonyms": "true"})
    )
    assert hidden == [{**row, "annotator": ids[row["annotator"]]} for row in plain]
