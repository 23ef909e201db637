"""What every request asks the database first, remembered for a second.

A process forgets all of it as soon as it commits a change of its own; what another process changes it sees within that
second. So whoever revokes a key is not let in with it again by the process that answered, and by others for a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session

SECONDS = 1.0
MOST = 10_000  # are remembered; when there are more, all are forgotten

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Changes:
    """How many transactions that may have changed something this process has committed."""

    count = 0


@dataclass(frozen=True)
class _Found(Generic[Value]):
    value: Value
    changes: int
    until: float


class Recent(Generic[Key, Value]):
    """Rows by what they were asked for. Any thread may use it."""

    def __init__(self) -> None:
        self._found: dict[Key, _Found[Value]] = {}

    def get(self, key: Key) -> Value | None:
        """What was found for this key within the last second, if this process has changed nothing since."""
        found = self._found.get(key)
        if found is None or found.changes != _Changes.count or time.monotonic() > found.until:
            return None
        return found.value

    def look_up(self, key: Key, find: Callable[[], Value | None]) -> Value | None:
        """What `find` finds, remembered unless that is nothing, or something was changed meanwhile."""
        changes, until = _Changes.count, time.monotonic() + SECONDS
        value = find()
        if value is not None:
            if len(self._found) >= MOST:
                self._found.clear()
            self._found[key] = _Found(value, changes, until)
        return value


@event.listens_for(Session, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    if not state.is_select:
        state.session.info["changes"] = True


@event.listens_for(Session, "after_flush")
def _note_flush(session: Session, _: object) -> None:
    session.info["changes"] = True


@event.listens_for(Session, "after_commit")
def _count(session: Session) -> None:
    if not session.in_nested_transaction() and session.info.pop("changes", False):
        _Changes.count += 1
