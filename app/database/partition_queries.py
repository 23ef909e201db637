"""Items and annotations of one dataset, in and out by COPY: the tables they lie in.

A dataset's rows are loaded into tables that nothing else knows yet, which get their constraints when they are full and
only then become partitions: checking each row against a live index would cost three times the whole load. Nothing here
touches the partitioned parents before `attach`, so that deleting one dataset, which needs the parents for itself, does
not wait for the upload of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Dialect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.database.base import Base
from realm_core.annotations import UNKNOWN
from realm_core.formats.table import AnnotationTable

ITEM_COLUMNS = ("dataset_key", "item", "task", "key", "item_id", "prompt", "options", "added_in")
_CONSTRAINTS = {
    "items": ("PRIMARY KEY (dataset_key, item)", "UNIQUE (dataset_key, key)"),
    "annotations": ("PRIMARY KEY (dataset_key, item, annotator, added_in)",),
}
_INDEXES = {"annotations": ("annotator",)}  # beside those of the constraints; by ATTACH they become the parent's
_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_ROWS_PER_WRITE = 100_000
_POSTGRES_EPOCH = 946_684_800  # 2000-01-01 in unix seconds
_COPY_HEADER_BYTES = 19
_COPY_END_BYTES = 2
_BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_BINARY_END = b"\xff\xff"


def psycopg_connection(session: Session) -> psycopg.Connection[Any]:
    """The driver's connection, in the session's transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection


def create(session: Session, dataset_key: int) -> None:
    """Make the two tables of a dataset, without constraints."""
    for parent in _CONSTRAINTS:
        columns = ", ".join(
            f"{column.name} {column.type.compile(_DIALECT)}{'' if column.nullable else ' NOT NULL'}"
            for column in Base.metadata.tables[parent].columns
        )
        check = f"CONSTRAINT own CHECK (dataset_key = {dataset_key})"  # spares ATTACH a look at every row
        session.execute(text(f"CREATE TABLE {parent}_{dataset_key} ({columns}, {check})"))


def constrain(session: Session, parent: str, dataset_key: int) -> None:
    """Build the constraints and indexes of a dataset's part of `parent`."""
    constraints = ", ".join(f"ADD {constraint}" for constraint in _CONSTRAINTS[parent])
    session.execute(text(f"ALTER TABLE {parent}_{dataset_key} {constraints}"))
    for column in _INDEXES.get(parent, ()):
        session.execute(text(f"CREATE INDEX ON {parent}_{dataset_key} ({column})"))


def attach(session: Session, dataset_key: int) -> None:
    """Make the two tables of a dataset, constraints built, partitions."""
    for parent in _CONSTRAINTS:
        name = f"{parent}_{dataset_key}"
        session.execute(text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES IN ({dataset_key})"))
        session.execute(text(f"ALTER TABLE {name} DROP CONSTRAINT own"))


@contextmanager
def copying_items(
    session: Session, table: str, *, dataset_key: int, version: int
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """A function that writes new items, as a reader gives them, into `table`; nothing else may run meanwhile."""
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(ITEM_COLUMNS)}) FROM STDIN") as copy,
    ):
        yield lambda items: copy.write(_text_rows(items, dataset_key, version))


def _text_rows(items: pl.DataFrame, dataset_key: int, version: int) -> bytes:
    """Items in the text format of COPY."""
    values = {
        "dataset_key": pl.lit(str(dataset_key)),
        "item": pl.col("item").cast(pl.String),
        "task": pl.col("task_number").cast(pl.String),
        "key": pl.col("key"),
        "added_in": pl.lit(str(version)),
    }
    for name in ("item_id", "prompt", "options"):
        values[name] = _escaped(name) if name in items.columns else pl.lit("\\N")
    line = pl.concat_str([values[name] for name in ITEM_COLUMNS], separator="\t")
    text: str = items.select(line.str.join("\n")).item()
    return text.encode() + b"\n" if text else b""


def _escaped(name: str) -> pl.Expr:
    special = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return pl.col(name).str.replace_many(special).fill_null("\\N")


def copy_annotations(
    session: Session,
    target: str,
    table: AnnotationTable,
    annotator_ids: NDArray[np.int32],
    *,
    dataset_key: int,
    version: int,
) -> None:
    """Write the labels of `table` into the table `target`; `annotator_ids` (R,) are the keys of the annotators."""
    columns: dict[str, NDArray[Any]] = {
        "dataset_key": np.broadcast_to(np.int32(dataset_key), len(table.item)),
        "added_in": np.broadcast_to(np.int32(version), len(table.item)),
        "item": table.item,
        "annotator": _mapped(annotator_ids, table.annotator),
        "label": table.label,
    }
    optional, known = _optional_columns(table)
    for which in np.unique(known):  # the rows that lack the same values go together: NULLs make rows differ in width
        names = [name for bit, name in enumerate(optional) if which >> bit & 1]
        copy_binary(session, target, columns | {name: optional[name] for name in names}, known == which)


def _mapped(ids: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """ids[numbers], a part at a time: numpy makes a 64-bit copy of what it indexes with."""
    found = np.empty_like(numbers)
    for start in range(0, len(numbers), _ROWS_PER_WRITE):
        part = slice(start, start + _ROWS_PER_WRITE)
        found[part] = ids[numbers[part]]
    return found


def _optional_columns(table: AnnotationTable) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """The optional values in Postgres' terms, and for each row a bit for each of them that it has."""
    columns: dict[str, NDArray[Any]] = {}
    known = np.zeros(len(table.item), np.uint8)
    for name, values in (("created_at", table.created_at), ("duration_ms", table.duration_ms), ("cost", table.cost)):
        if values is None:
            continue
        there = values != UNKNOWN if values.dtype == np.int32 else ~np.isnan(values)
        known |= (there << len(columns)).astype(np.uint8)
        columns[name] = values
    if "created_at" in columns:
        since = np.nan_to_num(columns["created_at"], nan=_POSTGRES_EPOCH) - _POSTGRES_EPOCH
        columns["created_at"] = np.rint(since * 1e6).astype(np.int64)
    return columns, known


def copy_binary(session: Session, target: str, columns: dict[str, NDArray[Any]], which: NDArray[np.bool_]) -> None:
    """Write the rows `which` of numeric columns in the binary format of COPY."""
    layout = [("n_columns", ">i2")]
    for name, values in columns.items():
        layout += [(f"{name} size", ">i4"), (name, values.dtype.newbyteorder(">").str)]
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(f"COPY {target} ({', '.join(columns)}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(_BINARY_HEADER)
        for start in range(0, len(which), _ROWS_PER_WRITE):
            part = start + np.flatnonzero(which[start : start + _ROWS_PER_WRITE])
            block = np.empty(len(part), layout)
            block["n_columns"] = len(columns)
            for name, values in columns.items():
                block[f"{name} size"] = values.dtype.itemsize
                block[name] = values[part]
            copy.write(block.tobytes())
        copy.write(_BINARY_END)


def copy_numbers(session: Session, query: str, columns: Mapping[str, str]) -> NDArray[Any]:
    """The rows of a query as a structured array; `columns` are numpy's kinds of its columns, none of which is NULL."""
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy,
    ):
        data = b"".join(copy)
    layout = [("n_columns", ">i2")]
    for name, kind in columns.items():
        layout += [(f"{name} size", ">i4"), (name, f">{kind}")]
    return np.frombuffer(data[_COPY_HEADER_BYTES:-_COPY_END_BYTES], layout)


def set_gold(session: Session, items: str, gold: NDArray[np.int16]) -> None:
    """Write the gold labels (N,) into the table `items`, where there are any."""
    session.execute(text("CREATE TEMPORARY TABLE given_gold (item integer, gold smallint) ON COMMIT DROP"))
    columns: dict[str, NDArray[Any]] = {"item": np.arange(len(gold), dtype=np.int32), "gold": gold}
    copy_binary(session, "given_gold", columns, gold != UNKNOWN)
    session.execute(text(f"UPDATE {items} AS i SET gold = g.gold FROM given_gold AS g WHERE i.item = g.item"))
