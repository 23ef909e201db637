"""Rows appended to a dataset: the next version, which shares with its parent all that did not change."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.database import annotation_queries, append_queries, dataset_queries, partition_queries, sums_queries
from app.database.append_queries import NEW_ITEMS, NEW_LABELS, AppendedRows
from app.database.tables import Dataset, DatasetTask, DatasetVersion
from app.datasets.intake import add_task, unused_columns
from app.datasets.version_labels import describe, sums_after_append
from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.answers import KnownTask
from realm_core.formats.faults import BadData, Fault, Faults
from realm_core.formats.reader import AnnotationFile, AnnotationReader
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.table import AnnotationTable

_NO_TEXT = "This dataset has no prompts; send rows with item_id and without prompt."
_HAS_TEXT = "This dataset has prompts; every row must have its prompt."


def append_rows(
    session: Session,
    dataset: Dataset,
    parent: DatasetVersion,
    file: AnnotationFile,
    options: ReadingOptions,
    faults: Faults,
) -> DatasetVersion:
    """The version after `parent`, of a dataset that is locked. Raises BadData."""
    known = dataset_queries.list_tasks(session, dataset.key, parent.number)
    version = parent.number + 1
    reader = AnnotationReader(file, options, faults, [_known_task(task) for task in known])
    if reader.has_text != dataset.has_text:
        raise BadData("missing_column", _HAS_TEXT if dataset.has_text else _NO_TEXT)
    append_queries.create_staging(session, dataset.key)
    with partition_queries.copying_items(session, NEW_ITEMS, dataset_key=dataset.key, version=version) as write_items:
        for new_items in reader.blocks():
            write_items(new_items)
    sent = reader.finish()
    table = _with_numbers_of(session, dataset, parent, sent, reader.first_rows, faults)
    appended = _store(session, dataset, parent, table)
    _update_tasks(session, dataset, known, table, version)
    sha256 = hashlib.sha256(f"{parent.sha256} {sent.sha256}".encode()).hexdigest()
    return _add_version(session, dataset, parent, table, appended, sha256, unused_columns(file.plan))


def _known_task(task: DatasetTask) -> KnownTask:
    return KnownTask(task.name, task.declared, {one["name"]: one["description"] for one in task.answers})


def _with_numbers_of(
    session: Session,
    dataset: Dataset,
    parent: DatasetVersion,
    table: AnnotationTable,
    first_rows: NDArray[Any],
    faults: Faults,
) -> AnnotationTable:
    """The table with its labels' items numbered as in the dataset, less those that contradict it. Raises BadData."""
    found = append_queries.find_items(session, dataset.key)
    known = np.array([UNKNOWN if item.known is None else item.known for item in found], np.int32)
    other_text = np.array([item.differs for item in found], np.bool_)
    bad = other_text | _other_gold(table, [item.gold for item in found], known)
    keep = ~bad[table.item]
    if bad.any():
        reasons = [_contradiction(int(first_rows[item]), bool(other_text[item])) for item in np.flatnonzero(bad)]
        faults.add(reasons, int((~keep).sum()))
        faults.raise_if_any()
    is_new = known == UNKNOWN
    numbers = np.where(is_new, parent.n_items + np.cumsum(is_new) - 1, known).astype(np.int32)
    return _picked(table, keep, numbers)


def _other_gold(table: AnnotationTable, gold: list[int | None], known: IntArray) -> NDArray[np.bool_]:
    """Which items are in the dataset with another gold label, or without one. (N,)"""
    if table.gold is None:
        return np.zeros(len(known), np.bool_)
    there = np.array([UNKNOWN if one is None else one for one in gold], np.int16)
    differs: NDArray[np.bool_] = (known != UNKNOWN) & (table.gold != UNKNOWN) & (table.gold != there)
    return differs


def _contradiction(row: int, other_text: bool) -> Fault:
    if other_text:
        detail = "The dataset has this item_id with another prompt or other options."
        return Fault(row, "prompt", "item_with_two_texts", detail)
    detail = "The dataset has this item without this gold label, and versions do not change: gold comes with new items."
    return Fault(row, "gold", "gold_of_known_item", detail)


def _picked(table: AnnotationTable, keep: NDArray[np.bool_], numbers: IntArray) -> AnnotationTable:
    """The labels `keep` (L,), their items renumbered by `numbers` (N,)."""
    optional: dict[str, Any] = {
        name: None if values is None else values[keep]
        for name in ("created_at", "duration_ms", "cost")
        for values in [getattr(table, name)]
    }
    return replace(
        table,
        item=numbers[table.item[keep]],
        annotator=table.annotator[keep],
        label=table.label[keep],
        counts=replace(table.counts, rejected=table.counts.rejected + int((~keep).sum())),
        **optional,
    )


def _store(session: Session, dataset: Dataset, parent: DatasetVersion, table: AnnotationTable) -> AppendedRows:
    version = parent.number + 1
    if table.gold is not None:
        partition_queries.set_gold(session, NEW_ITEMS, table.gold)
    n_new_items = append_queries.move_items(session, dataset.key, parent.n_items)
    ids = annotation_queries.annotator_ids(session, dataset.project_id, table.annotators)
    partition_queries.copy_annotations(session, NEW_LABELS, table, ids, dataset_key=dataset.key, version=version)
    return append_queries.move_labels(session, dataset.key, version, n_new_items)


def _update_tasks(
    session: Session, dataset: Dataset, known: list[DatasetTask], table: AnnotationTable, version: int
) -> None:
    for number, task in enumerate(table.tasks):
        if number >= len(known):
            add_task(session, dataset, number, task, version)
        elif len(task.answers) > len(known[number].answers):
            new = list(task.answers.items())[len(known[number].answers) :]
            added = [{"name": name, "description": what, "added_in": version} for name, what in new]
            dataset_queries.set_answers(session, dataset.key, number, [*known[number].answers, *added])


def _add_version(
    session: Session,
    dataset: Dataset,
    parent: DatasetVersion,
    table: AnnotationTable,
    appended: AppendedRows,
    sha256: str,
    warnings: list[dict[str, Any]],
) -> DatasetVersion:
    """Warnings are made anew: what could not be learned may be learned now."""
    number = parent.number + 1
    sums = sums_after_append(session, dataset, parent.number, parent.n_items)
    sums_queries.keep_sums(session, dataset.key, number, sums.to_bytes())
    statistics = describe(session, dataset, number, sums)
    totals = {name: statistics[name] for name in ("labels", "items", "annotators")}
    counts = table.counts
    changes = {
        "added": appended.labels,
        "superseded": appended.superseded,
        "identical_repeats": counts.identical_repeats + appended.identical,
    }
    return dataset_queries.add_version(
        session,
        dataset_key=dataset.key,
        number=number,
        sha256=sha256,
        n_labels=totals["labels"],
        n_items=parent.n_items + appended.items,
        n_annotators=totals["annotators"],
        counts=counts.as_dict() | totals | changes,
        warnings=[*statistics["warnings"], *warnings],
        statistics=statistics,
    )
