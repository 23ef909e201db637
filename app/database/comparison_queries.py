"""Two reports side by side: cleaned labels of the same items, accuracies of the same annotators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row, and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased, defer

from app.database.tables import ALL_TASKS, Annotator, AnnotatorReport, Item, ItemReport
from realm_core.annotations import FloatArray

_Other, _OtherItem = aliased(AnnotatorReport), aliased(ItemReport)
_ITEMS_FETCHED = 20_000


def count_same_labels(session: Session, job_key: int, other_key: int) -> tuple[int, int]:
    """How many items both reports have, and on how many they say the same."""
    same = case((ItemReport.label == _OtherItem.label, 1), else_=0)
    query = (
        select(func.count(), func.coalesce(func.sum(same), 0))
        .select_from(ItemReport)
        .join(_OtherItem, and_(_OtherItem.job_key == other_key, _OtherItem.item == ItemReport.item))
        .where(ItemReport.job_key == job_key)
    )
    n, n_same = session.execute(query).one()
    return int(n), int(n_same)


def changed_items(
    session: Session, job_key: int, other_key: int, dataset_key: int, limit: int
) -> Sequence[Row[ItemReport, ItemReport, Item]]:
    """The items on which the reports differ, those first of which both are sure."""
    surest = func.least(ItemReport.probability, _OtherItem.probability)
    query = (
        select(ItemReport, _OtherItem, Item)
        .join(_OtherItem, and_(_OtherItem.job_key == other_key, _OtherItem.item == ItemReport.item))
        .join(Item, and_(Item.dataset_key == dataset_key, Item.item == ItemReport.item))
        .where(ItemReport.job_key == job_key, ItemReport.label != _OtherItem.label)
        .options(*(defer(report.posterior) for report in (ItemReport, _OtherItem)))
        .options(*(defer(report.model_posterior) for report in (ItemReport, _OtherItem)))
        .order_by(surest.desc(), ItemReport.item)
    )
    return session.execute(query.limit(limit)).all()


def _of_both(job_key: int, other_key: int) -> Any:
    """Rows of annotators whose accuracy both reports know."""
    return and_(
        AnnotatorReport.job_key == job_key,
        AnnotatorReport.task == ALL_TASKS,
        _Other.job_key == other_key,
        _Other.task == ALL_TASKS,
        _Other.annotator == AnnotatorReport.annotator,
        AnnotatorReport.accuracy.is_not(None),
        _Other.accuracy.is_not(None),
    )


def count_moved(session: Session, job_key: int, other_key: int) -> tuple[int, int]:
    """How many annotators both reports know, and of how many the intervals do not meet."""
    apart = or_(
        AnnotatorReport.accuracy_high < _Other.accuracy_low, AnnotatorReport.accuracy_low > _Other.accuracy_high
    )
    query = select(func.count(), func.count().filter(apart)).where(_of_both(job_key, other_key))
    n, n_moved = session.execute(query).one()
    return int(n), int(n_moved)


def moved_most(
    session: Session, job_key: int, other_key: int, limit: int
) -> Sequence[Row[AnnotatorReport, AnnotatorReport, str]]:
    """The annotators whose accuracy differs the most between the reports."""
    query = (
        select(AnnotatorReport, _Other, Annotator.name)
        .join(Annotator, Annotator.id == AnnotatorReport.annotator)
        .where(_of_both(job_key, other_key))
        .order_by(func.abs(AnnotatorReport.accuracy - _Other.accuracy).desc(), AnnotatorReport.annotator)
    )
    return session.execute(query.limit(limit)).all()


def load_model_posterior(session: Session, job_key: int, n_items: int, n_answers: int) -> FloatArray | None:
    """What the model alone said of every item (N, Kmax), zero beyond K_i; None when no model read them."""
    found = np.zeros((n_items, n_answers))
    query = select(ItemReport.item, ItemReport.model_posterior).where(
        ItemReport.job_key == job_key, ItemReport.model_posterior.is_not(None)
    )
    rows: Iterable[Any] = session.execute(query.execution_options(yield_per=_ITEMS_FETCHED))
    any_read = False
    for item, probabilities in rows:
        found[item, : len(probabilities)] = probabilities
        any_read = True
    return found if any_read else None


def items_by_number(session: Session, dataset_key: int, items: Sequence[int]) -> dict[int, Item]:
    query = select(Item).where(Item.dataset_key == dataset_key, Item.item.in_(items))
    return {item.item: item for item in session.execute(query).scalars()}
