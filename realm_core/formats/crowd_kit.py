"""Crowd-Kit's tables: a row for each (task, worker, label), where a task is what is an item here."""

from __future__ import annotations

from collections.abc import Sequence

from realm_core.formats.recognised import Recognised

_COLUMNS = {"task", "worker", "label"}


def recognise_columns(found: Sequence[str]) -> Recognised | None:
    if set(found) != _COLUMNS:
        return None
    return Recognised(
        "Read as a table of Crowd-Kit: worker is the annotator, task the item_id.",
        mapping={"task": "item_id", "worker": "annotator"},
    )
