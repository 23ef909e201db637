"""The labels of a version, as statistics count them, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.database import annotation_queries, append_queries, sums_queries
from app.database.annotation_queries import ItemShapes, Labels
from app.database.tables import Dataset
from app.datasets.statistics import CrowdLabels, CrowdSums, statistics_of, sums_of


def count_version(session: Session, dataset: Dataset, version: int) -> CrowdSums:
    """The sums of a version, over all of its labels."""
    items = annotation_queries.load_item_shapes(session, dataset.key, version)
    return sums_of(_crowd(items, annotation_queries.load_labels(session, dataset.key, version)))


def sums_after_append(session: Session, dataset: Dataset, parent: int, n_items_before: int) -> CrowdSums:
    """The sums of the version after `parent`, whose rows have just been moved in. Only what these touch is read."""
    known = sums_queries.find_sums(session, dataset.key, parent)
    if known is None:
        return count_version(session, dataset, parent + 1)
    touched = append_queries.load_touched(session, dataset.key, parent + 1, n_items_before)
    before = sums_of(_crowd(touched.items.below(n_items_before), touched.before))
    return CrowdSums.from_bytes(known).changed(before, sums_of(_crowd(touched.items, touched.after)))


def _crowd(items: ItemShapes, labels: Labels) -> CrowdLabels:
    keys, annotator = np.unique(labels.annotator, return_inverse=True)
    return CrowdLabels(
        annotator_keys=keys,
        item_task=items.task,
        item_has_options=items.has_options,
        item=np.searchsorted(items.number, labels.item),
        annotator=annotator,
        label=labels.label,
        item_number=items.number,
    )


def describe(session: Session, dataset: Dataset, version: int, sums: CrowdSums) -> dict[str, Any]:
    """The statistics of a version of which these are the sums."""
    tasks = annotation_queries.load_tasks(session, dataset.key, version)
    return statistics_of(sums, [(task.name, task.answers) for task in tasks], partial(_names, session))


def _names(session: Session, keys: Sequence[int]) -> list[str]:
    names = annotation_queries.annotator_names(session, keys)
    return [names[key] for key in keys]
