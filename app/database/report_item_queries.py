"""The report of a finished job: reading items and their votes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, Select, and_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Session, defer

from app.database.tables import ALL_TASKS, Annotation, Annotator, AnnotatorReport, Item, ItemReport

ItemRows = Sequence[Row[ItemReport, Item]]


@dataclass(frozen=True)
class Source:
    """The data that a report is about: a job and the pinned version of its dataset."""

    job_key: int
    dataset_key: int
    version: int


@dataclass(frozen=True)
class VoteRow:
    """A label that somebody gave to an item, with their accuracy over all tasks."""

    item: int
    annotator: int
    name: str
    label: int
    accuracy: float | None


def _select_items(source: Source) -> Select[ItemReport, Item]:
    return (
        select(ItemReport, Item)
        .join(Item, and_(Item.dataset_key == source.dataset_key, Item.item == ItemReport.item))
        .where(ItemReport.job_key == source.job_key)
    )


@dataclass(frozen=True)
class ItemFilter:
    """Which items to list; None does not restrict. `label` is the number of the most probable answer."""

    task: int | None = None
    item_id: str | None = None
    label: int | None = None
    text_contains: str | None = None
    probability_min: float | None = None
    probability_max: float | None = None

    def applied_to(self, query: Select[ItemReport, Item]) -> Select[ItemReport, Item]:
        for column, wanted in ((Item.task, self.task), (Item.item_id, self.item_id), (ItemReport.label, self.label)):
            if wanted is not None:
                query = query.where(column == wanted)
        if self.text_contains is not None:
            text = func.coalesce(Item.prompt, Item.item_id)
            query = query.where(text.icontains(self.text_contains, autoescape=True))
        if self.probability_min is not None:
            query = query.where(ItemReport.probability >= cast(self.probability_min, REAL))
        if self.probability_max is not None:
            query = query.where(ItemReport.probability <= cast(self.probability_max, REAL))
        return query


def list_items(
    session: Session,
    source: Source,
    *,
    only: ItemFilter,
    sort: str,
    after: int | None,
    limit: int,
) -> ItemRows | None:
    """A page of items, one more than `limit` when there are more; None when `after` is not an item of the report."""
    column = {"-relabel_gain": ItemReport.relabel_gain, "probability": ItemReport.probability, "item": ItemReport.item}
    key, descending = column[sort], sort.startswith("-")
    query = _select_items(source).options(defer(ItemReport.posterior), defer(ItemReport.model_posterior))
    query = only.applied_to(query)
    if after is not None:
        mark = session.execute(
            select(key).where(ItemReport.job_key == source.job_key, ItemReport.item == after)
        ).scalar_one_or_none()
        if mark is None:
            return None
        value = cast(literal(mark), key.type)
        not_before, beyond = (key <= value, key < value) if descending else (key >= value, key > value)
        query = query.where(not_before, or_(beyond, ItemReport.item > after))  # the first part bounds the index scan
    query = query.order_by(key.desc() if descending else key, ItemReport.item)
    return session.execute(query.limit(limit + 1)).all()


def find_item(session: Session, source: Source, item: int) -> Row[ItemReport, Item] | None:
    return session.execute(_select_items(source).where(ItemReport.item == item)).one_or_none()


def votes_on(session: Session, source: Source, items: Sequence[int]) -> dict[int, list[VoteRow]]:
    """The labels that the items got in the pinned version, by item."""
    accuracy = and_(
        AnnotatorReport.job_key == source.job_key,
        AnnotatorReport.annotator == Annotation.annotator,
        AnnotatorReport.task == ALL_TASKS,
    )
    query = (
        select(Annotation.item, Annotation.annotator, Annotator.name, Annotation.label, AnnotatorReport.accuracy)
        .join(Annotator, Annotator.id == Annotation.annotator)
        .outerjoin(AnnotatorReport, accuracy)
        .where(
            Annotation.dataset_key == source.dataset_key,
            Annotation.item.in_(items),
            Annotation.live_in(source.version),
        )
        .order_by(Annotation.item, Annotation.annotator)
    )
    votes: dict[int, list[VoteRow]] = defaultdict(list)
    for row in session.execute(query):
        votes[row.item].append(VoteRow(*row))
    return votes
