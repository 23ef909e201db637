"""Waiting for the locks of others, but not for long: who waits for a lock makes all wait who come later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from psycopg.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

_PATIENCE = timedelta(seconds=3)


class DataBusy(Exception):
    """Somebody else is changing the data, or reading what is to be dropped."""


def wait_shortly(session: Session) -> None:
    """Let this transaction wait for no lock longer than some seconds, from here on."""
    session.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE.total_seconds()}s'"))


@contextmanager
def or_busy() -> Iterator[None]:
    """Raises DataBusy when a lock was not to be had."""
    try:
        yield
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise DataBusy from error
        raise
