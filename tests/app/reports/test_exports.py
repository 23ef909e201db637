"""Downloads hold what the lists show, in three formats, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.reports import exports
from tests.app.reports.conftest import ReportApi
from tests.finished_jobs import FORMULA_NAME, HOSTILE_PROMPT

ANNOTATOR_COLUMNS = [
    "id", "annotator", "task", "n", "accuracy", "accuracy_low", "accuracy_high", "accuracy_method", "model_accuracy",
    "expertise", "expertise_low", "expertise_high", "agreement", "flags", "reasons", "worst_answer",
    "worst_answer_accuracy", "median_seconds", "cost_per_correct",
]  # fmt: skip
LABEL_COLUMNS = ["item_id", "prompt", "task", "label", "probability"]


@pytest.fixture(autouse=True, params=[1000, 7], ids=["one page", "many pages"])
def _pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS_PER_PAGE", request.param)


def download(report: ReportApi, name: str) -> bytes:
    answer = report.client.get(f"/v1/fine_tuning/jobs/{report.job.id}/export/{name}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{report.job.id}-{name.replace(".", ".")}"'
    return answer.content


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the API as an export has it."""
    accuracy, expertise = row["accuracy"], row["expertise"]
    return {
        **row,
        "accuracy": accuracy["value"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "accuracy_method": accuracy["method"],
        "expertise": expertise["value"],
        "expertise_low": expertise["low"],
        "expertise_high": expertise["high"],
    }


def test_json_holds_what_the_lists_show(report: ReportApi) -> None:
    annotators = json.loads(download(report, "annotators.json"))
    assert annotators == [flat(row) for row in report.all_rows("annotators")]
    assert list(annotators[0]) == ANNOTATOR_COLUMNS
    items = report.all_rows("items", sort="item")
    assert json.loads(download(report, "items.json")) == items
    labels = json.loads(download(report, "labels.json"))
    assert labels == [{name: item[name] for name in LABEL_COLUMNS} for item in items]


def test_parquet_holds_what_the_lists_show(report: ReportApi) -> None:
    annotators = pl.read_parquet(io.BytesIO(download(report, "annotators.parquet")))
    assert annotators.columns == ANNOTATOR_COLUMNS
    assert annotators.to_dicts() == [flat(row) for row in report.all_rows("annotators")]
    items = pl.read_parquet(io.BytesIO(download(report, "items.parquet")))
    assert items.to_dicts() == report.all_rows("items", sort="item")


def test_csv_holds_what_the_lists_show(report: ReportApi) -> None:
    rows = list(csv.DictReader(io.StringIO(download(report, "annotators.csv").decode())))
    assert list(rows[0]) == ANNOTATOR_COLUMNS
    listed = [flat(row) for row in report.all_rows("annotators")]
    for read, row in zip(rows, listed, strict=True):
        assert read["annotator"].removeprefix("'") == row["annotator"]
        assert read["n"] == str(row["n"])
        for name in ("accuracy", "accuracy_low", "expertise", "agreement"):
            assert read[name] == ("" if row[name] is None else str(row[name]))
        assert json.loads(read["flags"]) == row["flags"]


def test_csv_cells_are_no_formulas(report: ReportApi) -> None:
    rows = list(csv.reader(io.StringIO(download(report, "annotators.csv").decode())))
    names = [row[1] for row in rows]
    assert "'" + FORMULA_NAME in names
    items = list(csv.DictReader(io.StringIO(download(report, "items.csv").decode())))
    assert items[3]["prompt"] == HOSTILE_PROMPT
    assert {vote["annotator"] for vote in json.loads(items[0]["votes"])}
    for row in rows + [list(item.values()) for item in items]:
        for cell in row:
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert not cell.startswith("-") or float(cell) <= 0


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_texts_that_a_spreadsheet_would_run_start_with_an_apostrophe(text: str) -> None:
    assert exports._cell(text) == "'" + text


@pytest.mark.parametrize("value", ["plain", "a=b", "", None, -0.5, 3, "'quoted"])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert exports._cell(value) == value


def test_no_temporary_file_is_left(report: ReportApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    download(report, "annotators.parquet")
    assert list(tmp_path.iterdir()) == []
