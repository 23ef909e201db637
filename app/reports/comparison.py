"""Two reports side by side."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.database import comparison_queries
from app.database.tables import AnnotatorReport
from app.errors import Unprocessable
from app.reports import service
from app.reports.comparison_schemas import (
    ChangedLabel,
    ComparedAnnotators,
    ComparedItems,
    Comparison,
    MovedAnnotator,
    Side,
)
from app.reports.schemas import Accuracy
from app.reports.service import FinishedJob

ROWS_SHOWN = 20


def compare(session: Session, finished: FinishedJob, other: FinishedJob, *, pseudonyms: bool = False) -> Comparison:
    """Where two reports of a project differ. Raises Unprocessable for a job with itself."""
    if finished.job.key == other.job.key:
        raise Unprocessable("A job is compared with another one.", code="same_job", param="with")
    return Comparison(
        report=_side(session, finished),
        other=_side(session, other),
        items=_items(session, finished, other),
        annotators=_annotators(session, finished, other, pseudonyms=pseudonyms),
    )


def _side(session: Session, finished: FinishedJob) -> Side:
    return Side.model_validate(service.get_agreement(session, finished).model_dump(include=set(Side.model_fields)))


def _items(session: Session, finished: FinishedJob, other: FinishedJob) -> ComparedItems | None:
    """The items that both know; their numbers are those of the dataset, whatever the version."""
    if finished.dataset_key is None or finished.dataset_key != other.dataset_key:
        return None
    keys = finished.job.key, other.job.key
    n_common, n_same = comparison_queries.count_same_labels(session, *keys)
    rows = comparison_queries.changed_items(session, *keys, finished.dataset_key, ROWS_SHOWN)
    changed = [
        ChangedLabel(
            **finished.labelled(item, report.label, report.probability),
            other_label=other.answers_of_item(item)[theirs.label],
            other_probability=theirs.probability,
        )
        for report, theirs, item in rows
    ]
    return ComparedItems(n_common=n_common, n_same=n_same, changed=changed)


def _annotators(session: Session, finished: FinishedJob, other: FinishedJob, *, pseudonyms: bool) -> ComparedAnnotators:
    keys = finished.job.key, other.job.key
    n_common, n_apart = comparison_queries.count_moved(session, *keys)
    moved = [
        _moved(row, theirs, f"ann_{row.annotator}" if pseudonyms else name)
        for row, theirs, name in comparison_queries.moved_most(session, *keys, ROWS_SHOWN)
    ]
    return ComparedAnnotators(n_common=n_common, n_apart=n_apart, moved=moved)


def _moved(row: AnnotatorReport, theirs: AnnotatorReport, name: str) -> MovedAnnotator:
    ours, other = _accuracy(row), _accuracy(theirs)
    apart = (ours.high or 0) < (other.low or 0) or (ours.low or 0) > (other.high or 0)
    return MovedAnnotator(id=f"ann_{row.annotator}", annotator=name, accuracy=ours, other_accuracy=other, apart=apart)


def _accuracy(row: AnnotatorReport) -> Accuracy:
    return Accuracy(value=row.accuracy, low=row.accuracy_low, high=row.accuracy_high, method=row.accuracy_method)
