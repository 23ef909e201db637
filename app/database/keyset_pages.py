"""Pages of a list by key, not by offset: a page begins behind the row that ended the one before.

Such a page costs the same wherever it lies, and nothing is shown twice or left out when rows come and go meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Select, inspect, tuple_
from sqlalchemy.orm import Mapped

Columns = TypeVarTuple("Columns")


class Dated(Protocol):
    """A row that is listed by when it was made."""

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


DatedRow = TypeVar("DatedRow", bound=Dated)


def page_by_key(
    query: Select[*Columns],
    key: Sequence[ColumnElement[Any] | Mapped[Any]],
    *,
    after: Sequence[Any] | None,
    limit: int,
    descending: bool,
) -> Select[*Columns]:
    """The rows of `query` in the order of `key`, one more than `limit` when there are more.

    `key` tells all rows apart; `after` has its values in the row that the page begins behind.
    """
    if after is not None:
        here, there = tuple_(*key), tuple(after)
        query = query.where(here < there if descending else here > there)
    return query.order_by(*(column.desc() if descending else column for column in key)).limit(limit + 1)


def page_by_date(
    query: Select[*Columns], table: type[DatedRow], *, after: DatedRow | None, limit: int, descending: bool
) -> Select[*Columns]:
    """The rows of `query` by (created_at, id) of `table`, one more than `limit` when there are more."""
    columns = inspect(table).columns
    mark = None if after is None else (after.created_at, after.id)
    return page_by_key(query, (columns.created_at, columns.id), after=mark, limit=limit, descending=descending)
