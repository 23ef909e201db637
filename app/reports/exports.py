"""Whole tables of a report as files, streamed: pages of the same rows that the lists show, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from fastapi.responses import FileResponse, Response, StreamingResponse
from polars.io.plugins import register_io_source
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from app.database.session import transaction
from app.dependencies import PageOf
from app.errors import Unprocessable
from app.reports import service
from app.reports.export_shapes import SHAPES, FlatRow
from app.reports.schemas import (
    AnnotatorQuery,
    AnnotatorRow,
    ExportQuery,
    FileFormat,
    ItemQuery,
    ItemRow,
    LabelRow,
    LabelShape,
    Table,
)
from app.reports.service import FinishedJob
from app.spreadsheets import safe_cell

ROWS_PER_PAGE = 1000

Columns = dict[str, pl.DataType]
_VOTE = pl.Struct({"annotator": pl.String, "label": pl.String})


class TableShape(NamedTuple):
    """How a table is read, page by page, and the columns of its files."""

    rows: Callable[[FinishedJob, ExportQuery], Iterator[list[FlatRow]]]
    columns: Columns


def export_table(finished: FinishedJob, table: Table, file_format: FileFormat, query: ExportQuery) -> Response:
    """A download. Raises Conflict when the dataset was deleted, and with it what the table holds; Unprocessable."""
    if table != "annotators":
        _ = finished.source
    shape = TABLES[table] if query.shape is None else _shaped(table, file_format, query.shape)
    pages = shape.rows(finished, query)
    name = f"{finished.job.id}-{table}.{file_format}"
    if file_format == "parquet":
        return _parquet(pages, shape.columns, name)
    text, media_type = (_csv, "text/csv; charset=utf-8") if file_format == "csv" else (_json, "application/json")
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(text(pages, shape.columns), media_type=media_type, headers=disposition)


def _shaped(table: Table, file_format: FileFormat, name: LabelShape) -> TableShape:
    """The labels as a tool reads them. Raises Unprocessable."""
    shape = SHAPES[name]
    if table != "labels":
        raise Unprocessable("Only labels have the shapes of other tools.", code="invalid_shape", param="shape")
    if file_format not in shape.formats:
        detail = f"{name} reads these labels as {' or '.join(shape.formats)}, not as {file_format}."
        raise Unprocessable(detail, code="invalid_shape", param="shape")

    def rows(finished: FinishedJob, query: ExportQuery) -> Iterator[list[FlatRow]]:
        return ([shape.row(row) for row in page] for page in _label_pages(finished, query))

    return TableShape(rows, shape.columns)


def _annotator_pages(finished: FinishedJob, query: ExportQuery) -> Iterator[list[FlatRow]]:
    """The rows over all tasks, then, when there are several, those of each task."""
    tasks = [None, *(task.name for task in finished.tasks if len(finished.tasks) > 1)]
    for task in tasks:
        yield from _pages(partial(_read_annotators, finished, query, task), _flat_annotator)


def _read_annotators(
    finished: FinishedJob, query: ExportQuery, task: str | None, session: Session, after: str | None
) -> PageOf[AnnotatorRow]:
    part = AnnotatorQuery(task=task, after=after, limit=ROWS_PER_PAGE, pseudonyms=query.pseudonyms)
    return service.list_annotators(session, finished, part)


def _item_pages(finished: FinishedJob, query: ExportQuery) -> Iterator[list[FlatRow]]:
    return _pages(partial(_read_items, service.list_items, finished, query), ItemRow.model_dump)


def _label_pages(finished: FinishedJob, query: ExportQuery) -> Iterator[list[FlatRow]]:
    return _pages(partial(_read_items, service.list_labels, finished, query), LabelRow.model_dump)


def _read_items(
    read: Callable[[Session, FinishedJob, ItemQuery], PageOf[Any]],
    finished: FinishedJob,
    query: ExportQuery,
    session: Session,
    after: str | None,
) -> PageOf[Any]:
    part = ItemQuery(sort="item", after=after, limit=ROWS_PER_PAGE, pseudonyms=query.pseudonyms)
    return read(session, finished, part)


def _pages(
    read: Callable[[Session, str | None], PageOf[Any]], flat: Callable[[Any], FlatRow]
) -> Iterator[list[FlatRow]]:
    """Every page of a list, each read in a transaction of its own: a slow download must not hold one."""
    after, more = None, True
    while more:
        with transaction() as session:
            page = read(session, after)
        yield [flat(row) for row in page.data]
        after, more = page.last_id, page.has_more


def _flat_annotator(row: AnnotatorRow) -> FlatRow:
    accuracy, expertise = row.accuracy, row.expertise
    return row.model_dump(exclude={"accuracy", "expertise"}) | {
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "accuracy_method": accuracy.method,
        "expertise": expertise.value,
        "expertise_low": expertise.low,
        "expertise_high": expertise.high,
    }


TABLES: dict[Table, TableShape] = {
    "annotators": TableShape(
        _annotator_pages,
        {
            "id": pl.String(),
            "annotator": pl.String(),
            "task": pl.String(),
            "n": pl.Int64(),
            "accuracy": pl.Float64(),
            "accuracy_low": pl.Float64(),
            "accuracy_high": pl.Float64(),
            "accuracy_method": pl.String(),
            "model_accuracy": pl.Float64(),
            "expertise": pl.Float64(),
            "expertise_low": pl.Float64(),
            "expertise_high": pl.Float64(),
            "agreement": pl.Float64(),
            "flags": pl.List(pl.String),
            "reasons": pl.List(pl.String),
            "worst_answer": pl.String(),
            "worst_answer_accuracy": pl.Float64(),
            "median_seconds": pl.Float64(),
            "cost_per_correct": pl.Float64(),
        },
    ),
    "items": TableShape(
        _item_pages,
        {
            "id": pl.String(),
            "item_id": pl.String(),
            "prompt": pl.String(),
            "task": pl.String(),
            "label": pl.String(),
            "probability": pl.Float64(),
            "model_probability": pl.Float64(),
            "votes": pl.List(_VOTE),
            "relabel_gain": pl.Float64(),
        },
    ),
    "labels": TableShape(
        _label_pages,
        {
            "item_id": pl.String(),
            "prompt": pl.String(),
            "task": pl.String(),
            "label": pl.String(),
            "probability": pl.Float64(),
        },
    ),
}


def _csv(pages: Iterator[list[FlatRow]], columns: Columns) -> Iterator[str]:
    yield _csv_text([list(columns)])
    for page in pages:
        yield _csv_text([[_cell(row[name]) for name in columns] for row in page])


def _csv_text(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A value as a cell: texts are safe for spreadsheets, lists are JSON."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return safe_cell(value) if isinstance(value, str) else value


def _json(pages: Iterator[list[FlatRow]], columns: Columns) -> Iterator[str]:
    before = "[\n"
    for page in pages:
        for row in page:
            yield before + json.dumps({name: row[name] for name in columns}, ensure_ascii=False)
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _parquet(pages: Iterator[list[FlatRow]], columns: Columns, name: str) -> Response:
    """Parquet's index comes last, so the file is written whole before it is sent."""
    schema = pl.Schema(columns)

    def frames(wanted: list[str] | None, *_: object) -> Iterator[pl.DataFrame]:
        for page in pages:
            frame = pl.DataFrame(page, schema=schema)
            yield frame if wanted is None else frame.select(wanted)

    with tempfile.NamedTemporaryFile(prefix="realm-export-", suffix=".parquet", delete=False) as file:
        path = Path(file.name)
    try:
        register_io_source(frames, schema=schema).sink_parquet(path)
    except BaseException:
        path.unlink()
        raise
    return FileResponse(
        path, media_type="application/vnd.apache.parquet", filename=name, background=BackgroundTask(path.unlink)
    )
