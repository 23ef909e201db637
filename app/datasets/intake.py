"""Puts what was uploaded into Postgres while it arrives: one connection, one transaction, nothing half-kept."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.orm import Session

from app.database import annotation_queries, dataset_queries, partition_queries, sums_queries
from app.database.base import new_id
from app.database.tables import Dataset, DatasetVersion
from app.datasets.statistics import CrowdLabels, statistics_of, sums_of
from realm_core.annotations import IntArray
from realm_core.formats.answers import KnownTask
from realm_core.formats.columns import ColumnPlan
from realm_core.formats.faults import Faults
from realm_core.formats.read_ahead import one_ahead
from realm_core.formats.reader import AnnotationFile, AnnotationReader
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.table import AnnotationTable

FIRST_VERSION = 1
T = TypeVar("T")


def store_dataset(
    session: Session, project_id: str, name: str, file: AnnotationFile, options: ReadingOptions, faults: Faults
) -> tuple[Dataset, DatasetVersion]:
    """A new dataset of a file. Raises BadData."""
    reader = AnnotationReader(file, options, faults)
    dataset = dataset_queries.add_dataset(session, new_id("ds_"), project_id, name, has_text=reader.has_text)
    partition_queries.create(session, dataset.key)
    with partition_queries.copying_items(
        session, f"items_{dataset.key}", dataset_key=dataset.key, version=FIRST_VERSION
    ) as write_items:
        for new_items in one_ahead(reader.blocks()):
            write_items(new_items)
    index = partial(partition_queries.constrain, session, dataset_key=dataset.key)
    table = _meanwhile(partial(index, "items"), reader.finish)
    if table.gold is not None:
        partition_queries.set_gold(session, f"items_{dataset.key}", table.gold)
    ids = annotation_queries.annotator_ids(session, project_id, table.annotators)
    partition_queries.copy_annotations(
        session, f"annotations_{dataset.key}", table, ids, dataset_key=dataset.key, version=FIRST_VERSION
    )
    facts = _meanwhile(partial(index, "annotations"), partial(_facts_of, table, ids))
    partition_queries.attach(session, dataset.key)
    _add_tasks(session, dataset, table)
    sums_queries.keep_sums(session, dataset.key, FIRST_VERSION, facts.sums)
    return dataset, _add_version(session, dataset, table, facts, file.plan)


def _meanwhile(database_work: Callable[[], None], work: Callable[[], T]) -> T:
    """What `work` makes while Postgres is busy."""
    with ThreadPoolExecutor(1, "database") as thread:
        busy = thread.submit(database_work)
        made = work()
        busy.result()
    return made


def _add_tasks(session: Session, dataset: Dataset, table: AnnotationTable) -> None:
    for number, task in enumerate(table.tasks):
        add_task(session, dataset, number, task, FIRST_VERSION)


def add_task(session: Session, dataset: Dataset, number: int, task: KnownTask, version: int) -> None:
    """A task that a version brings, with its answers."""
    answers = [{"name": name, "description": what, "added_in": version} for name, what in task.answers.items()]
    dataset_queries.add_task(
        session,
        dataset_key=dataset.key,
        task=number,
        name=task.name,
        answers=answers,
        declared=task.declared,
        added_in=version,
    )


class _Facts(NamedTuple):
    statistics: dict[str, Any]
    sums: bytes
    sha256: str


def _facts_of(table: AnnotationTable, annotator_ids: IntArray) -> _Facts:
    crowd = CrowdLabels(
        annotator_keys=annotator_ids,
        item_task=table.item_task,
        item_has_options=table.item_has_options,
        item=table.item,
        annotator=table.annotator,
        label=table.label,
    )
    sums = sums_of(crowd)
    names = dict(zip(annotator_ids.tolist(), table.annotators, strict=True))
    tasks = [(task.name, tuple(task.answers)) for task in table.tasks]
    statistics = statistics_of(sums, tasks, lambda keys: [names[key] for key in keys])
    return _Facts(statistics, sums.to_bytes(), table.sha256)


def _add_version(
    session: Session, dataset: Dataset, table: AnnotationTable, facts: _Facts, plan: ColumnPlan
) -> DatasetVersion:
    return dataset_queries.add_version(
        session,
        dataset_key=dataset.key,
        number=FIRST_VERSION,
        sha256=facts.sha256,
        n_labels=table.counts.labels,
        n_items=table.counts.items,
        n_annotators=table.counts.annotators,
        counts=table.counts.as_dict() | {"added": table.counts.labels, "superseded": 0},
        warnings=[*facts.statistics["warnings"], *unused_columns(plan)],
        statistics=facts.statistics,
    )


def unused_columns(plan: ColumnPlan) -> list[dict[str, Any]]:
    if not plan.unused:
        return []
    names = ", ".join(repr(name[:60]) for name in plan.unused[:10])
    return [{"code": "unused_columns", "detail": f"Columns that are not used here: {names}."}]
