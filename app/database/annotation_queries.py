"""Annotations of a dataset version: into arrays for training, and out as rows.

Reading goes to the dataset's own tables, not to the partitioned parents: see partition_queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, any_, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, INTEGER, TEXT
from sqlalchemy.orm import Session

from app.database import dataset_queries
from app.database.partition_queries import copy_numbers
from app.database.tables import Annotator, Item
from realm_core.annotations import UNKNOWN, Annotations, FloatArray, IntArray, Task

_ROWS_STREAMED = 2000


@dataclass(frozen=True, eq=False)
class LoadedAnnotations:
    """The annotations of a dataset version, and which row of `annotators` each annotator is. (R,)"""

    annotations: Annotations
    annotator_ids: IntArray


def annotator_ids(session: Session, project_id: str, names: Sequence[str]) -> IntArray:
    """The keys of a project's annotators by name, made for those that are new. (R,)

    None of them can be erased until this transaction ends. One that is being erased is made anew.
    """
    ids: dict[str, int] = {}
    while len(ids) < len(set(names)):
        ids = _annotator_ids(session, project_id, names)
    return np.array([ids[name] for name in names], np.int32)


def _annotator_ids(session: Session, project_id: str, names: Sequence[str]) -> dict[str, int]:
    given = {"project_id": project_id, "names": list(names)}
    session.execute(
        text(
            "INSERT INTO annotators (project_id, name) SELECT :project_id, name FROM unnest(:names) AS given (name) "
            "WHERE NOT EXISTS (SELECT FROM annotators a WHERE a.project_id = :project_id AND a.name = given.name) "
            "ORDER BY name ON CONFLICT DO NOTHING"  # in one order, so that two uploads never wait for each other
        ).bindparams(bindparam("names", type_=ARRAY(TEXT))),
        given,
    )
    found = select(Annotator.name, Annotator.id).where(
        Annotator.project_id == project_id, Annotator.name == any_(bindparam("names", type_=ARRAY(TEXT)))
    )
    return dict(session.execute(found.with_for_update(read=True, key_share=True), given).all())


def load_annotations(session: Session, dataset_key: int, version: int) -> LoadedAnnotations:
    """All of a dataset version. Items are numbered as in `items`, annotators in the order of their keys.

    Annotators are called ann_…: models keep what they are called, and must not keep their names.
    """
    tasks = load_tasks(session, dataset_key, version)
    labels = load_labels(session, dataset_key, version)
    ids, annotator = np.unique(labels.annotator, return_inverse=True)
    items = _load_items(session, dataset_key, version)
    annotations = Annotations(
        tasks=tasks,
        annotators=tuple(f"ann_{id_}" for id_ in ids.tolist()),
        item_ids=tuple(f"item_{item.item}" if item.item_id is None else item.item_id for item in items),
        item_task=np.array([item.task for item in items], np.int32),
        item=labels.item,
        annotator=annotator.astype(np.int32),
        label=labels.label,
        prompts=_all_or_none([item.prompt for item in items]),
        options=_options(items),
        created_at=labels.created_at,
        gold=_gold(items),
    )
    return LoadedAnnotations(annotations, ids.astype(np.int32))


def annotator_names(session: Session, ids: Sequence[int]) -> dict[int, str]:
    found = select(Annotator.id, Annotator.name).where(Annotator.id == any_(bindparam("ids", type_=ARRAY(INTEGER))))
    return dict(session.execute(found, {"ids": list(ids)}).all())


def load_tasks(session: Session, dataset_key: int, version: int) -> tuple[Task, ...]:
    """The tasks of a version with the answers that they had then."""
    return tuple(
        Task(task.name, tuple(one["name"] for one in answers), tuple(one["description"] for one in answers))
        for task in dataset_queries.list_tasks(session, dataset_key, version)
        for answers in [[one for one in task.answers if one["added_in"] <= version]]
    )


@dataclass(frozen=True, eq=False)
class Labels:
    """The live labels of a version, by (item, annotator); `annotator` is the key of `annotators`. (L,)"""

    item: IntArray
    annotator: IntArray
    label: IntArray
    created_at: FloatArray | None

    @staticmethod
    def of(rows: NDArray[Any]) -> Labels:
        """Of rows with these columns, in any order."""
        rows = rows[np.lexsort((rows["annotator"], rows["item"]))]
        created_at = np.array([np.nan])
        if "created_at" in (rows.dtype.names or ()):
            created_at = rows["created_at"].astype(np.float64)
        return Labels(
            rows["item"].astype(np.int32),
            rows["annotator"].astype(np.int32),
            rows["label"].astype(np.int32),
            None if np.isnan(created_at).all() else created_at,
        )


def load_labels(session: Session, dataset_key: int, version: int) -> Labels:
    """The labels of a dataset version as arrays, without any text."""
    query = (
        "SELECT item, annotator, label, coalesce(date_part('epoch', created_at), 'NaN') "
        f"FROM annotations_{int(dataset_key)} "
        f"WHERE added_in <= {int(version)} AND (superseded_in IS NULL OR superseded_in > {int(version)})"
    )
    layout = {"item": "i4", "annotator": "i4", "label": "i2", "created_at": "f8"}
    return Labels.of(copy_numbers(session, query, layout))


@dataclass(frozen=True, eq=False)
class ItemShapes:
    """Numbers of items, their tasks, and whether they have options of their own. (N,)"""

    number: IntArray
    task: IntArray
    has_options: NDArray[np.bool_]

    @staticmethod
    def of(rows: NDArray[Any]) -> ItemShapes:
        """Of rows with these columns, in any order."""
        rows = rows[np.argsort(rows["number"], kind="stable")]
        return ItemShapes(*(rows[name].astype(kind) for name, kind in ITEM_SHAPE.items()))

    def below(self, number: int) -> ItemShapes:
        """Those with smaller numbers."""
        n = int(np.searchsorted(self.number, number))
        return ItemShapes(self.number[:n], self.task[:n], self.has_options[:n])


ITEM_SHAPE = {"number": "i4", "task": "i2", "has_options": "?"}


def load_item_shapes(session: Session, dataset_key: int, version: int) -> ItemShapes:
    table = f"items_{int(dataset_key)}"
    query = f"SELECT item, task, options IS NOT NULL FROM {table} WHERE added_in <= {int(version)}"
    return ItemShapes.of(copy_numbers(session, query, ITEM_SHAPE))


_LIVE = "a.added_in <= :version AND (a.superseded_in IS NULL OR a.superseded_in > :version)"
# Of two versions, the labels that are in the newer alone, and those that are in the older alone.
_ADDED = "a.added_in > :older AND a.added_in <= :newer AND (a.superseded_in IS NULL OR a.superseded_in > :newer)"
_SUPERSEDED = "a.added_in <= :older AND a.superseded_in > :older AND a.superseded_in <= :newer"


def stream_rows(session: Session, dataset_key: int, version: int) -> Iterator[Sequence[Row[Any]]]:
    """The live labels of a version with all that is known of them, by item and annotator, some thousands at a time."""
    return _stream(session, dataset_key, _LIVE, {"version": version})


def stream_added(session: Session, dataset_key: int, older: int, newer: int) -> Iterator[Sequence[Row[Any]]]:
    """The labels of a version that an older one does not have."""
    return _stream(session, dataset_key, _ADDED, {"older": older, "newer": newer})


def stream_superseded(session: Session, dataset_key: int, older: int, newer: int) -> Iterator[Sequence[Row[Any]]]:
    """The labels of a version that a newer one has no longer."""
    return _stream(session, dataset_key, _SUPERSEDED, {"older": older, "newer": newer})


def count_changes(session: Session, dataset_key: int, older: int, newer: int) -> tuple[int, int]:
    """How many labels were added and superseded between two versions."""
    query = (
        f"SELECT count(*) FILTER (WHERE {_ADDED}), count(*) FILTER (WHERE {_SUPERSEDED}) "
        f"FROM annotations_{int(dataset_key)} AS a WHERE a.added_in > :older OR a.superseded_in > :older"
    )
    added, superseded = session.execute(text(query), {"older": older, "newer": newer}).one()
    return int(added), int(superseded)


def _stream(session: Session, dataset_key: int, which: str, values: dict[str, int]) -> Iterator[Sequence[Row[Any]]]:
    query = text(
        "SELECT i.item_id, i.prompt, i.task, i.options, n.name AS annotator, n.id AS annotator_id, a.label, i.gold, "
        f"a.created_at, a.duration_ms, a.cost FROM annotations_{int(dataset_key)} AS a "
        f"JOIN items_{int(dataset_key)} AS i USING (item) JOIN annotators AS n ON n.id = a.annotator "
        f"WHERE {which} ORDER BY a.item, a.annotator"
    ).columns(options=Item.options.type)
    with session.execute(query, values, execution_options={"yield_per": _ROWS_STREAMED}) as result:
        yield from result.partitions()  # the cursor is closed too when a client goes before the end


def _load_items(session: Session, dataset_key: int, version: int) -> Sequence[Any]:
    table = f"items_{int(dataset_key)}"
    query = f"SELECT item, task, item_id, prompt, options, gold FROM {table} WHERE added_in <= :version ORDER BY item"
    return session.execute(text(query).columns(options=Item.options.type), {"version": version}).all()


def _all_or_none(texts: list[str | None]) -> tuple[str, ...] | None:
    there = tuple(text for text in texts if text is not None)
    return there if len(there) == len(texts) else None


def _options(items: Sequence[Any]) -> tuple[tuple[str, ...] | None, ...] | None:
    if all(item.options is None for item in items):
        return None
    return tuple(None if item.options is None else tuple(item.options) for item in items)


def _gold(items: Sequence[Any]) -> NDArray[np.int32] | None:
    gold = np.array([UNKNOWN if item.gold is None else item.gold for item in items], np.int32)
    return None if (gold == UNKNOWN).all() else gold
