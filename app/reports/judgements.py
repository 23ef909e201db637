"""What can be asked about the labels of one annotator in a finished job."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.database import report_annotator_queries, report_crowd_queries, report_judgement_queries
from app.database.report_judgement_queries import JudgedLabels
from app.database.tables import ALL_TASKS, AnnotatorReport
from app.dependencies import PageOf
from app.errors import NotFound
from app.reports.judgement_schemas import Behaviour, JudgedLabel, JudgedLabelQuery, LabelShare, Period
from app.reports.service import FinishedJob, number_in_id

MOST_PERIODS = 12
LABELS_PER_PERIOD = 20
CONTROL_LIMIT = 3.0  # standard errors


def list_judged_labels(
    session: Session, finished: FinishedJob, annotator_id: str, query: JudgedLabelQuery
) -> PageOf[JudgedLabel]:
    """A page of the annotator's labels, those that are least likely right first.

    Raises NotFound for an unknown annotator or `after`, Unprocessable for an unknown task or answer.
    """
    annotator, _ = _rows_of(session, finished, annotator_id)
    task = finished.task_number(query.task)
    rows = report_judgement_queries.list_judged_labels(
        session,
        finished.source,
        annotator,
        task=task,
        given=finished.answer_number(task, query.label, "label"),
        probable=finished.answer_number(task, query.probable_label, "probable_label"),
        after=None if query.after is None else number_in_id(query.after, "item_", "item"),
        limit=query.limit,
    )
    if rows is None:
        raise NotFound(f"There is no item {query.after!r} in this list.", param="after")
    return PageOf[JudgedLabel].of(_judged_labels(finished, rows), query.limit)


def _rows_of(session: Session, finished: FinishedJob, annotator_id: str) -> tuple[int, Sequence[AnnotatorReport]]:
    """The annotator's key and rows. Raises NotFound."""
    annotator = number_in_id(annotator_id, "ann_", "annotator")
    rows = report_annotator_queries.annotator_rows(session, finished.job.key, annotator)
    if not rows:
        raise NotFound(f"There is no annotator {annotator_id!r} in this report.")
    return annotator, [row for row, _ in rows]


def _judged_labels(finished: FinishedJob, rows: JudgedLabels) -> list[JudgedLabel]:
    return [
        JudgedLabel(
            **finished.labelled(item, label, probability),
            probable_label=finished.answers_of_item(item)[report.label],
            created_at=None if at is None else int(at.timestamp()),
        )
        for report, item, label, at, probability in rows
    ]


def get_behaviour(session: Session, finished: FinishedJob, annotator_id: str) -> Behaviour:
    """What the annotator says beside what all say, and how well over time. Raises NotFound."""
    annotator, rows = _rows_of(session, finished, annotator_id)
    of_all = report_crowd_queries.load_figures(session, finished.job.key)["label_counts"]
    return Behaviour(
        label_shares=[share for row in rows for share in _label_shares(finished, row, of_all)],
        periods=[] if finished.dataset_key is None else _periods(session, finished, annotator),
    )


def _label_shares(finished: FinishedJob, row: AnnotatorReport, of_all: list[list[int]]) -> list[LabelShare]:
    counts = row.detail.get("label_counts")
    if row.task == ALL_TASKS or counts is None or not finished.tasks[row.task].answers:
        return []
    task, counts_of_all = finished.tasks[row.task], of_all[row.task]
    return [
        LabelShare(
            task=task.name,
            answer=answer,
            count=count,
            share=count / max(row.n, 1),
            share_of_all=count_of_all / max(sum(counts_of_all), 1),
        )
        for answer, count, count_of_all in zip(task.answers, counts, counts_of_all, strict=True)
    ]


def _periods(session: Session, finished: FinishedJob, annotator: int) -> list[Period]:
    """Parts of equal size, small enough to see a change in and large enough to judge."""
    n = report_judgement_queries.count_dated(session, finished.source, annotator)
    n_periods = min(MOST_PERIODS, n // LABELS_PER_PERIOD)
    if n_periods < 2:
        return []
    parts = report_judgement_queries.periods(session, finished.source, annotator, n_periods)
    mean = sum(part.n * part.probability for part in parts) / n
    return [
        Period(
            start=int(part.start.timestamp()),
            end=int(part.end.timestamp()),
            n=part.n,
            accuracy=part.probability,
            low=max(mean - CONTROL_LIMIT * math.sqrt(mean * (1 - mean) / part.n), 0.0),
            high=min(mean + CONTROL_LIMIT * math.sqrt(mean * (1 - mean) / part.n), 1.0),
        )
        for part in parts
    ]
