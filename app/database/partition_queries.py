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
from realm_core.annotations import UNKNOWN, FloatArray
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
_NULL_SIZE = -1
Values = Callable[[NDArray[np.intp]], NDArray[Any]]  # of a column, in these rows


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
    columns: dict[str, Values] = {
        "dataset_key": lambda rows: np.full(len(rows), dataset_key, np.int32),
        "added_in": lambda rows: np.full(len(rows), version, np.int32),
        "item": lambda rows: table.item[rows],
        "annotator": lambda rows: annotator_ids[table.annotator[rows]],
        "label": lambda rows: table.label[rows],
    }
    if (times := table.created_at) is not None:
        columns["created_at"] = lambda rows: _postgres_times(times[rows])
    if (durations := table.duration_ms) is not None:
        columns["duration_ms"] = lambda rows: np.ma.masked_equal(durations[rows], UNKNOWN)
    if (costs := table.cost) is not None:
        columns["cost"] = lambda rows: np.ma.masked_invalid(costs[rows])
    copy_binary(session, target, columns, len(table.item))


def _postgres_times(unix_seconds: FloatArray) -> NDArray[np.int64]:
    """Microseconds since 2000; masked where there is no time."""
    unknown = np.isnan(unix_seconds)
    since = np.where(unknown, 0, unix_seconds - _POSTGRES_EPOCH)
    return np.ma.masked_array(np.rint(since * 1e6).astype(np.int64), unknown)


def copy_binary(session: Session, target: str, columns: Mapping[str, Values], n_rows: int) -> None:
    """Write rows of numeric columns in the binary format of COPY. Masked values are NULL."""
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(f"COPY {target} ({', '.join(columns)}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(_BINARY_HEADER)
        for start in range(0, n_rows, _ROWS_PER_WRITE):
            rows = np.arange(start, min(start + _ROWS_PER_WRITE, n_rows))
            for block in _binary_rows({name: values_of(rows) for name, values_of in columns.items()}):
                copy.write(block)
        copy.write(_BINARY_END)


def _binary_rows(columns: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """The rows that lack the same values go together: NULLs make rows differ in width."""
    absent = np.zeros(len(next(iter(columns.values()))), np.int64)  # a bit for each column
    for bit, values in enumerate(columns.values()):
        if np.ma.is_masked(values):
            absent |= np.ma.getmaskarray(values).astype(np.int64) << bit
    for pattern in np.unique(absent).tolist():
        rows = absent == pattern
        there = {name: values for bit, (name, values) in enumerate(columns.items()) if not pattern >> bit & 1}
        layout = [("n_columns", ">i2")]
        for name in columns:
            layout.append((f"{name} size", ">i4"))
            if name in there:
                layout.append((name, there[name].dtype.newbyteorder(">").str))
        block = np.empty(rows.sum(), layout)
        block["n_columns"] = len(columns)
        for name in columns:
            block[f"{name} size"] = _NULL_SIZE
        for name, values in there.items():
            block[f"{name} size"] = values.dtype.itemsize
            block[name] = values[rows]
        yield block.tobytes()


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
    given = np.flatnonzero(gold != UNKNOWN).astype(np.int32)
    columns: dict[str, Values] = {"item": lambda rows: given[rows], "gold": lambda rows: gold[given[rows]]}
    copy_binary(session, "given_gold", columns, len(given))
    session.execute(text(f"UPDATE {items} AS i SET gold = g.gold FROM given_gold AS g WHERE i.item = g.item"))
