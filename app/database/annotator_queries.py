"""The annotators of a project: listing them, and erasing one from everything that the database keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import delete, func, literal, null, or_, select, text, update
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_key
from app.database.lock_waits import DataBusy, or_busy, wait_shortly
from app.database.sums_queries import forget_sums
from app.database.tables import UNFINISHED, Annotator, ApiKey, Dataset, DatasetVersion, Job, StoredAnswer

LONGEST_NAME_IN_SENTENCES = 60


def find_annotator(session: Session, project_id: str, annotator: int) -> Annotator | None:
    query = select(Annotator).where(Annotator.id == annotator, Annotator.project_id == project_id)
    return session.execute(query).scalar_one_or_none()


def list_annotators(
    session: Session, project_id: str, *, name_contains: str | None, after: int | None, limit: int, descending: bool
) -> list[Annotator]:
    """A page of a project's annotators by id, one more than `limit` when there are more."""
    query = select(Annotator).where(Annotator.project_id == project_id)
    if name_contains is not None:
        query = query.where(Annotator.name.icontains(name_contains, autoescape=True))
    mark = None if after is None else (after,)
    query = page_by_key(query, (Annotator.id,), after=mark, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def _dataset_keys(session: Session, project_id: str) -> list[int]:
    query = select(Dataset.key).where(Dataset.project_id == project_id).order_by(Dataset.key)
    return list(session.execute(query).scalars())


def lock_for_erasure(session: Session, annotator: Annotator) -> list[int]:
    """Keep others from adding labels of an annotator; the keys of the project's datasets. Raises DataBusy.

    Datasets come before the annotator, as they do for who appends. An upload that ends while this waits for the
    annotator brings a dataset that is not locked: then somebody was busy after all.
    """
    wait_shortly(session)
    with or_busy():
        datasets = select(Dataset.key).where(Dataset.project_id == annotator.project_id).order_by(Dataset.key)
        keys = list(session.execute(datasets.with_for_update()).scalars())
        session.execute(select(Annotator.id).where(Annotator.id == annotator.id).with_for_update())
    if keys != _dataset_keys(session, annotator.project_id):
        raise DataBusy
    return keys


def datasets_with_labels_of(session: Session, annotator: Annotator, dataset_keys: Sequence[int]) -> list[int]:
    """Those of `dataset_keys` in which the annotator has labels, in any version."""
    look = "SELECT EXISTS (SELECT FROM annotations_{key} WHERE annotator = :annotator)"
    return [
        key
        for key in dataset_keys
        if session.execute(text(look.format(key=int(key))), {"annotator": annotator.id}).scalar_one()
    ]


def have_unfinished_jobs(session: Session, dataset_keys: Sequence[int]) -> bool:
    query = (
        select(Job.key)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .where(Dataset.key.in_(dataset_keys), Job.status.in_(UNFINISHED))
    )
    return session.execute(query.limit(1)).first() is not None


def erase(session: Session, annotator: Annotator, dataset_keys: Sequence[int]) -> None:
    """Remove an annotator's labels from some datasets, their name, report rows and decisions."""
    for key in dataset_keys:
        statement = text(f"DELETE FROM annotations_{int(key)} WHERE annotator = :annotator")
        session.execute(statement, {"annotator": annotator.id})
    named_in = _forget_warnings(session, annotator)
    _forget_statistics(session, [*dataset_keys, *named_in])
    _forget_answers(session, annotator)
    session.execute(delete(Annotator).where(Annotator.id == annotator.id))  # and what refers to it


def _forget_warnings(session: Session, annotator: Annotator) -> list[int]:
    """Remove the sentences about data that name the annotator; returns the keys of the datasets that had some."""
    name = repr(annotator.name[:LONGEST_NAME_IN_SENTENCES])
    datasets = select(Dataset.key).where(Dataset.project_id == annotator.project_id)
    named_in = []
    for version in session.execute(select(DatasetVersion).where(DatasetVersion.dataset_key.in_(datasets))).scalars():
        kept = [warning for warning in version.warnings if name not in warning["detail"]]
        if len(kept) < len(version.warnings):
            version.warnings = kept
            named_in.append(version.dataset_key)
    session.flush()
    return named_in


def _forget_statistics(session: Session, dataset_keys: Sequence[int]) -> None:
    """They are counted anew, without the annotator, when somebody asks."""
    forget_sums(session, dataset_keys)
    versions = update(DatasetVersion).where(DatasetVersion.dataset_key.in_(dataset_keys))
    session.execute(versions.values(statistics=null()))


def _forget_answers(session: Session, annotator: Annotator) -> None:
    """Answers kept for requests that may come again, as far as they may name the annotator."""
    name = annotator.name[:LONGEST_NAME_IN_SENTENCES]
    spellings = {json.dumps(spelling)[1:-1].encode() for spelling in (name, repr(name)[1:-1])}
    keys = select(ApiKey.id).where(ApiKey.project_id == annotator.project_id)
    named = or_(*(func.position(spelling.op("IN")(StoredAnswer.answer)) > 0 for spelling in map(literal, spellings)))
    session.execute(delete(StoredAnswer).where(StoredAnswer.api_key_id.in_(keys), named))
