"""Rows appended to a dataset: staged beside its tables, compared with what is there, and then moved in.

An append touches the rows that it brings and those that they supersede, whatever the size of the dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, Row, text
from sqlalchemy.orm import Session

from app.database.annotation_queries import ITEM_SHAPE, ItemShapes, Labels
from app.database.partition_queries import ITEM_COLUMNS, copy_numbers

NEW_ITEMS, NEW_LABELS = "appended_items", "appended_annotations"
_SAME_ITEM = "t.dataset_key = a.dataset_key AND t.key = a.key"
_SAME_LABEL = "t.dataset_key = a.dataset_key AND t.item = a.item AND t.annotator = a.annotator"


class AppendedRows(NamedTuple):
    """How many items and labels an append added, and how many labels it took the place of, or found there already."""

    items: int
    labels: int
    superseded: int
    identical: int


def create_staging(session: Session, dataset_key: int) -> None:
    """Tables for what arrives, which are gone when the transaction ends."""
    for name, own in ((NEW_ITEMS, f"items_{dataset_key}"), (NEW_LABELS, f"annotations_{dataset_key}")):
        session.execute(text(f"CREATE TEMPORARY TABLE {name} (LIKE {own}) ON COMMIT DROP"))


def find_items(session: Session, dataset_key: int) -> list[Row[Any]]:
    """(item, known, differs, gold) of each staged item: its number in the dataset and whether it is another there."""
    differs = "t.prompt IS DISTINCT FROM a.prompt OR t.options IS DISTINCT FROM a.options"
    query = (
        f"SELECT a.item, t.item AS known, t.item IS NOT NULL AND ({differs}) AS differs, t.gold AS gold "
        f"FROM {NEW_ITEMS} AS a LEFT JOIN items_{dataset_key} AS t ON {_SAME_ITEM} ORDER BY a.item"
    )
    session.execute(text(f"ANALYZE {NEW_ITEMS}"))
    return list(session.execute(text(query)).all())


def move_items(session: Session, dataset_key: int, first_number: int) -> int:
    """Add the staged items that the dataset does not have, numbered from `first_number` on; returns how many."""
    columns = (*ITEM_COLUMNS, "gold")
    number = f"{int(first_number)} + row_number() OVER (ORDER BY a.item) - 1"
    values = ", ".join(number if name == "item" else f"a.{name}" for name in columns)
    return _count(
        session,
        f"INSERT INTO items_{dataset_key} ({', '.join(columns)}) SELECT {values} FROM {NEW_ITEMS} AS a "
        f"WHERE NOT EXISTS (SELECT FROM items_{dataset_key} AS t WHERE {_SAME_ITEM})",
    )


def move_labels(session: Session, dataset_key: int, version: int, n_items: int) -> AppendedRows:
    """Add the staged labels to the dataset; those that contradict an earlier one take its place from `version` on."""
    own = f"annotations_{dataset_key}"
    session.execute(text(f"ANALYZE {NEW_LABELS}"))
    live = f"{_SAME_LABEL} AND t.superseded_in IS NULL"
    identical = _count(session, f"DELETE FROM {NEW_LABELS} AS a USING {own} AS t WHERE {live} AND t.label = a.label")
    superseded = _count(session, f"UPDATE {own} AS t SET superseded_in = {version} FROM {NEW_LABELS} AS a WHERE {live}")
    added = _count(session, f"INSERT INTO {own} SELECT * FROM {NEW_LABELS}")
    return AppendedRows(n_items, added, superseded, identical)


@dataclass(frozen=True, eq=False)
class Touched:
    """Items that an append brought or put labels on, and all of their labels before it and after."""

    items: ItemShapes
    before: Labels
    after: Labels


def load_touched(session: Session, dataset_key: int, version: int, first_new_item: int) -> Touched:
    """What differs between a version whose labels have just been moved in and its parent.

    OFFSET 0 has each item looked up by index: joined, Postgres reads the whole dataset rather than some thousand items.
    """
    items, labels = f"items_{int(dataset_key)}", f"annotations_{int(dataset_key)}"
    of_dataset = f"dataset_key = {int(dataset_key)}"
    touched = (
        f"SELECT item FROM {NEW_LABELS} UNION "
        f"SELECT item FROM {items} WHERE {of_dataset} AND item >= {int(first_new_item)}"
    )
    shapes = (
        f"SELECT own.* FROM ({touched}) AS touched, LATERAL (SELECT item, task, options IS NOT NULL FROM {items} "
        f"WHERE {of_dataset} AND item = touched.item OFFSET 0) AS own"
    )
    said = (
        f"SELECT own.* FROM ({touched}) AS touched, LATERAL ("
        f"SELECT item, annotator, label, added_in < {int(version)}, superseded_in IS NULL FROM {labels} "
        f"WHERE {of_dataset} AND item = touched.item AND (superseded_in IS NULL OR superseded_in = {int(version)}) "
        "OFFSET 0) AS own"
    )
    rows = copy_numbers(session, said, {"item": "i4", "annotator": "i4", "label": "i2", "before": "?", "after": "?"})
    found = ItemShapes.of(copy_numbers(session, shapes, ITEM_SHAPE))
    return Touched(found, Labels.of(rows[rows["before"]]), Labels.of(rows[rows["after"]]))


def _count(session: Session, statement: str) -> int:
    result = session.execute(text(statement))
    assert isinstance(result, CursorResult)
    return result.rowcount
