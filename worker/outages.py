"""Living through a database that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
_AWAY = frozenset({None, "53300", "57P01", "57P02", "57P03"})  # no answer, no free connection, shutting down, starting

T = TypeVar("T")


def database_is_away(error: DBAPIError) -> bool:
    """Whether an error says that the database cannot be reached now, rather than that the statement is wrong."""
    if error.connection_invalidated:
        return True
    state: str | None = getattr(error.orig, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and (state in _AWAY or str(state).startswith("08"))


def outlast(step: Callable[[], T], patience: float = float("inf")) -> T:
    """The result of a step with transactions of its own, tried again while the database is away.

    Raises the error when the database is away for longer than `patience` seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return step()
        except DBAPIError as error:
            if not database_is_away(error) or time.monotonic() > until:
                raise
            log.warning("the database is away", error=str(error.orig))
        time.sleep(PAUSE_SECONDS)
