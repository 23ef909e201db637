"""Storing a report: millions of rows by COPY, in the transaction that ends the job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import annotation_queries
from app.database.partition_queries import psycopg_connection
from app.database.tables import ALL_TASKS, Dataset, Job
from realm_core.annotations import FloatArray, IntArray
from realm_core.reliability import AnnotatorRow, Estimate, ItemRows, Report

ITEMS_PER_CHUNK = 100_000

ANNOTATOR_COLUMNS = {
    "job_key": "int4",
    "annotator": "int4",
    "task": "int2",
    "n": "int4",
    "accuracy": "float8",
    "accuracy_low": "float8",
    "accuracy_high": "float8",
    "accuracy_method": "text",
    "model_accuracy": "float8",
    "expertise": "float8",
    "expertise_low": "float8",
    "expertise_high": "float8",
    "agreement": "float8",
    "flags": "text[]",
    "detail": "jsonb",
}


def write_report(session: Session, job_key: int, report: Report, annotator_ids: IntArray) -> None:
    """Store a report in the caller's transaction: its rows, and its overview in the job's `summary`.

    `annotator_ids` (R,) are the keys of the annotators, by their number in the report. The overview also keeps the
    tasks' names and answers, so that the report can still be read when its dataset has been deleted.
    """
    connection = psycopg_connection(session)
    _copy_annotators(connection, job_key, report.annotators, annotator_ids)
    _copy_items(connection, job_key, report.items)
    # The job's row comes last: it is locked from here to the commit, and its heartbeats and a cancel need it.
    summary = report.summary | {"tasks": _tasks_of(session, job_key)}
    session.execute(update(Job).where(Job.key == job_key).values(summary=summary))


def _tasks_of(session: Session, job_key: int) -> list[dict[str, Any]]:
    """The tasks, with the answers that they had in the version that the job pinned."""
    pinned = select(Dataset.key, Job.dataset_version).join(Dataset, Dataset.id == Job.dataset_id)
    dataset_key, version = session.execute(pinned.where(Job.key == job_key)).one()
    tasks = annotation_queries.load_tasks(session, dataset_key, version)
    return [{"name": task.name, "answers": list(task.answers)} for task in tasks]


def _copy_annotators(
    connection: psycopg.Connection[Any], job_key: int, rows: tuple[AnnotatorRow, ...], ids: IntArray
) -> None:
    statement = f"COPY annotator_reports ({', '.join(ANNOTATOR_COLUMNS)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(ANNOTATOR_COLUMNS.values()))
        for row in rows:
            copy.write_row((job_key, int(ids[row.annotator]), *_annotator_values(row)))


def _annotator_values(row: AnnotatorRow) -> tuple[Any, ...]:
    return (
        ALL_TASKS if row.task is None else row.task,
        row.n,
        *_parts(row.accuracy),
        row.accuracy_method,
        row.model_accuracy,
        *_parts(row.expertise),
        row.agreement,
        list(row.flags),
        Jsonb(row.detail),
    )


def _parts(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def _copy_items(connection: psycopg.Connection[Any], job_key: int, items: ItemRows) -> None:
    columns = "job_key, item, label, probability, model_probability, relabel_gain, posterior, model_posterior"
    statement = f"COPY item_reports ({columns}) FROM STDIN (FORMAT csv)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for chunk in _item_chunks(job_key, items):
            copy.write(chunk)


def _item_chunks(job_key: int, items: ItemRows) -> Iterator[str]:
    """The items' rows as CSV text, a bounded number at a time."""
    for start in range(0, len(items.label), ITEMS_PER_CHUNK):
        part = slice(start, start + ITEMS_PER_CHUNK)
        label = items.label[part]
        yield pl.DataFrame(
            {
                "job_key": np.full(len(label), job_key, dtype=np.int32),
                "item": np.arange(start, start + len(label), dtype=np.int32),
                "label": label.astype(np.int16),
                "probability": items.probability[part].astype(np.float32),
                "model_probability": None
                if items.model_probability is None
                else items.model_probability[part].astype(np.float32),
                "relabel_gain": items.relabel_gain[part].astype(np.float32),
                "posterior": _array_literals(items.posterior[part]),
                "model_posterior": None
                if items.model_posterior is None
                else _array_literals(items.model_posterior[part]),
            }
        ).write_csv(include_header=False)


def _array_literals(probabilities: FloatArray) -> pl.Series:
    """Postgres's notation {.5,.5,…} of each row of (n, Kmax) probabilities, without the zeros after the last other."""
    n_answers = np.max((probabilities > 0) * np.arange(1, probabilities.shape[1] + 1), axis=1)
    rows = pl.Series(probabilities.astype(np.float32)).arr.to_list()
    kept = pl.DataFrame({"row": rows, "n": n_answers}).select(pl.col("row").list.head(pl.col("n")))
    values = pl.col("row").cast(pl.List(pl.String)).list.join(",")
    return kept.select(pl.concat_str(pl.lit("{"), values, pl.lit("}"))).to_series()
