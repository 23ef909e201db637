"""Storing a report: millions of rows by COPY, in the transaction that ends the job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import Select, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.database import annotation_queries
from app.database.partition_queries import psycopg_connection
from app.database.tables import ALL_TASKS, Annotation, AnnotatorReport, Dataset, Job, ReportFigures
from realm_core.annotations import FloatArray, IntArray
from realm_core.annotator_pairs import PairRows
from realm_core.reliability import AnnotatorRow, Estimate, ItemRows, Report

ITEMS_PER_CHUNK = PAIRS_PER_CHUNK = 100_000
PAIR_COLUMNS = "job_key, first, second, shared, equal, same_mistakes, expected_mistakes, suspicious"

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
    _copy_pairs(connection, job_key, report.pairs, annotator_ids)
    dataset_key, version = session.execute(_pinned(job_key)).one()
    _set_pace_and_cost(session, job_key, dataset_key, version)
    session.execute(insert(ReportFigures).values(job_key=job_key, figures=report.figures))
    # The job's row comes last: it is locked from here to the commit, and its heartbeats and a cancel need it.
    summary = report.summary | {"tasks": _tasks_of(session, dataset_key, version)}
    session.execute(update(Job).where(Job.key == job_key).values(summary=summary))


def _tasks_of(session: Session, dataset_key: int, version: int) -> list[dict[str, Any]]:
    """The tasks, with the answers that they had in the version."""
    tasks = annotation_queries.load_tasks(session, dataset_key, version)
    return [{"name": task.name, "answers": list(task.answers)} for task in tasks]


def _pinned(job_key: int) -> Select[int, int]:
    """The dataset and its version that a job is about."""
    pinned = select(Dataset.key, Job.dataset_version).join(Dataset, Dataset.id == Job.dataset_id)
    return pinned.where(Job.key == job_key)


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


def _copy_pairs(connection: psycopg.Connection[Any], job_key: int, pairs: PairRows, ids: IntArray) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY annotator_pairs ({PAIR_COLUMNS}) FROM STDIN") as copy:
        for start in range(0, len(pairs), PAIRS_PER_CHUNK):
            part = slice(start, start + PAIRS_PER_CHUNK)
            first, second = ids[pairs.first[part]], ids[pairs.second[part]]
            copy.write(
                pl.DataFrame(
                    {
                        "job_key": np.full(len(first), job_key, dtype=np.int32),
                        "first": np.minimum(first, second),
                        "second": np.maximum(first, second),
                        "shared": pairs.shared[part],
                        "equal": pairs.equal[part],
                        "same_mistakes": pairs.same_mistakes[part].astype(np.float32),
                        "expected_mistakes": pairs.expected_mistakes[part].astype(np.float32),
                        "suspicious": pairs.suspicious[part],
                    }
                ).write_csv(include_header=False, separator="\t")
            )


def _set_pace_and_cost(session: Session, job_key: int, dataset_key: int, version: int) -> None:
    """Each annotator's median time and mean cost per label, of the labels that say them."""
    of_annotator = (
        select(
            Annotation.annotator,
            (func.percentile_cont(0.5).within_group(Annotation.duration_ms) / 1000).label("seconds"),
            func.avg(Annotation.cost).label("cost"),
        )
        .where(
            Annotation.dataset_key == dataset_key,
            Annotation.live_in(version),
            or_(Annotation.duration_ms.is_not(None), Annotation.cost.is_not(None)),
        )
        .group_by(Annotation.annotator)
        .subquery()
    )
    session.execute(
        update(AnnotatorReport)
        .where(
            AnnotatorReport.job_key == job_key,
            AnnotatorReport.task == ALL_TASKS,
            AnnotatorReport.annotator == of_annotator.c.annotator,
        )
        .values(median_seconds=of_annotator.c.seconds, mean_cost=of_annotator.c.cost)
        .execution_options(synchronize_session=False)
    )


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
