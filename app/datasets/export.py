"""A dataset version as CSV, streamed in bounded memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.responses import Response, StreamingResponse

from app.database import annotation_queries
from app.database.session import transaction
from app.database.tables import Dataset
from app.spreadsheets import safe_cell
from realm_core.annotations import Task

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


def csv_download(dataset: Dataset, version: int) -> Response:
    """The labels of a version: the columns that an upload has, of those that the dataset has a use for."""
    name = f"{dataset.id}-version-{version}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_csv(dataset, version), media_type="text/csv; charset=utf-8", headers=headers)


def _csv(dataset: Dataset, version: int) -> Iterator[str]:
    columns = [column for column in COLUMNS if dataset.has_text or column != "prompt"]
    yield _text([columns])
    with transaction() as session:
        tasks = annotation_queries.load_tasks(session, dataset.key, version)
        for rows in annotation_queries.stream_rows(session, dataset.key, version):
            cells = [_cells(row, tasks[row.task]) for row in rows]
            yield _text([[one[column] for column in columns] for one in cells])


def _cells(row: Any, task: Task) -> dict[str, Any]:
    answers = task.answers if row.options is None else row.options
    texts = {
        "item_id": row.item_id,
        "prompt": row.prompt,
        "task": task.name,
        "options": None if row.options is None else json.dumps(row.options, ensure_ascii=False),
        "annotator": row.annotator,
        "label": answers[row.label],
        "gold": None if row.gold is None else answers[row.gold],
        "created_at": None if row.created_at is None else row.created_at.isoformat(),
    }
    safe = {name: None if text is None else safe_cell(text) for name, text in texts.items()}
    return safe | {"duration_ms": row.duration_ms, "cost": row.cost}


def _text(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
