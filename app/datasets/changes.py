"""What changed between two versions of a dataset, as JSON that is streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session

from app.database import annotation_queries
from app.database.session import transaction
from app.database.tables import Dataset, DatasetVersion
from app.errors import Unprocessable
from realm_core.annotations import Task


def diff_download(
    session: Session, dataset: Dataset, older: DatasetVersion, newer: DatasetVersion, *, pseudonyms: bool
) -> Response:
    """Counts, then the labels. Raises Unprocessable unless the versions come in their order."""
    if older.number > newer.number:
        detail = f"Name the older version first: …/versions/{newer.number}/diff/{older.number}."
        raise Unprocessable(detail, code="versions_reversed", param="older")
    added, superseded = annotation_queries.count_changes(session, dataset.key, older.number, newer.number)
    head = {
        "object": "dataset.diff",
        "older": f"{dataset.id}@{older.number}",
        "newer": f"{dataset.id}@{newer.number}",
        "counts": {"items": newer.n_items - older.n_items, "added": added, "superseded": superseded},
    }
    rows = _changes(dataset, older.number, newer.number, pseudonyms)
    return StreamingResponse(_json(head, rows), media_type="application/json")


def _json(head: dict[str, Any], blocks: Iterator[list[dict[str, Any]]]) -> Iterator[str]:
    yield json.dumps(head).removesuffix("}") + ', "data": ['
    separator = "\n"
    for rows in blocks:
        yield separator + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        separator = ",\n"
    yield "\n]}"


def _changes(dataset: Dataset, older: int, newer: int, pseudonyms: bool) -> Iterator[list[dict[str, Any]]]:
    """The labels that went and then those that came, some thousands at a time."""
    with transaction() as session:
        tasks = annotation_queries.load_tasks(session, dataset.key, newer)
        went = annotation_queries.stream_superseded(session, dataset.key, older, newer)
        came = annotation_queries.stream_added(session, dataset.key, older, newer)
        parts = chain((("superseded", rows) for rows in went), (("added", rows) for rows in came))
        for change, rows in parts:
            yield [_change(change, row, tasks[row.task], pseudonyms) for row in rows]


def _change(change: str, row: Any, task: Task, pseudonyms: bool) -> dict[str, Any]:
    return {
        "change": change,
        "item_id": row.item_id,
        "prompt": row.prompt,
        "task": task.name,
        "annotator": f"ann_{row.annotator_id}" if pseudonyms else row.annotator,
        "label": (task.answers if row.options is None else row.options)[row.label],
    }
