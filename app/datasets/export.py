"""A dataset version as CSV or JSON lines, streamed in bounded memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from fastapi.responses import Response, StreamingResponse

from app.database import annotation_queries
from app.database.session import transaction
from app.database.tables import Dataset
from app.spreadsheets import safe_cell
from realm_core.annotations import Task

ExportFormat = Literal["csv", "jsonl"]
FlatRow = dict[str, Any]

COLUMNS = (
    "item_id",
    "prompt",
    "task",
    "options",
    "annotator",
    "label",
    "gold",
    "created_at",
    "duration_ms",
    "cost",
)


def download(dataset: Dataset, version: int, format_: ExportFormat, *, pseudonyms: bool = False) -> Response:
    """The labels of a version: the columns that an upload has, of those that the dataset has a use for."""
    name = f"{dataset.id}-version-{version}.{format_}"
    text, media_type = (_csv, "text/csv; charset=utf-8") if format_ == "csv" else (_json_lines, "application/x-ndjson")
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    blocks = _blocks(dataset, version, pseudonyms)
    columns = [column for column in COLUMNS if dataset.has_text or column != "prompt"]
    return StreamingResponse(text(columns, blocks), media_type=media_type, headers=headers)


def _csv(columns: Sequence[str], blocks: Iterator[list[FlatRow]]) -> Iterator[str]:
    yield _text([columns])
    for block in blocks:
        yield _text([[_csv_cell(row[column]) for column in columns] for row in block])


def _json_lines(columns: Sequence[str], blocks: Iterator[list[FlatRow]]) -> Iterator[str]:
    for block in blocks:
        known = ({name: row[name] for name in columns if row[name] is not None} for row in block)
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in known)


def _blocks(dataset: Dataset, version: int, pseudonyms: bool) -> Iterator[list[FlatRow]]:
    """The rows of a version by our columns, some thousands at a time."""
    with transaction() as session:
        tasks = annotation_queries.load_tasks(session, dataset.key, version)
        for rows in annotation_queries.stream_rows(session, dataset.key, version):
            yield [_values(row, tasks[row.task], pseudonyms) for row in rows]


def _values(row: Any, task: Task, pseudonyms: bool) -> FlatRow:
    answers = task.answers if row.options is None else row.options
    return {
        "item_id": row.item_id,
        "prompt": row.prompt,
        "task": task.name,
        "options": row.options,
        "annotator": f"ann_{row.annotator_id}" if pseudonyms else row.annotator,
        "label": answers[row.label],
        "gold": None if row.gold is None else answers[row.gold],
        "created_at": None if row.created_at is None else row.created_at.isoformat(),
        "duration_ms": row.duration_ms,
        "cost": row.cost,
    }


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        value = json.dumps(value, ensure_ascii=False)
    return safe_cell(value) if isinstance(value, str) else value


def _text(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
