"""What a file of another tool is taken for: how its columns or records become ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
Row = dict[str, Any]  # by our columns


@dataclass(frozen=True)
class Recognised:
    """A tool's export. `note` tells the user how it is read.

    A table has a `mapping` from its columns to ours, or `wide` columns, one for each annotator; `rows` makes our rows
    of one record of an export of nested JSON.
    """

    note: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    wide: tuple[str, ...] = ()
    rows: Callable[[Record], Iterator[Row]] | None = None


class BadRecord(ValueError):
    """A record that cannot be read; the message is for the user."""

    def __init__(self, field: str | None, detail: str) -> None:
        super().__init__(detail)
        self.field = field


def listed(record: Record, key: str) -> Sequence[Any]:
    """The list under a key, empty when there is none. Raises BadRecord."""
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRecord(key, f"{key!r} must be a list.")
    return value


def objects(record: Record, key: str) -> list[Record]:
    """The list of objects under a key. Raises BadRecord."""
    found = listed(record, key)
    if not all(isinstance(one, dict) for one in found):
        raise BadRecord(key, f"{key!r} must be a list of objects.")
    return list(found)


def only_one(values: Sequence[Any], key: str) -> str | None:
    """The one choice that was made, None when none was. Raises BadRecord."""
    if len(values) > 1:
        raise BadRecord(key, f"{len(values)} choices were made; only questions with one answer are read.")
    if values and not isinstance(values[0], str):
        raise BadRecord(key, "The choice is not a text: only classification is read, not spans.")
    return values[0] if values else None


def text_of(data: Record, key: str) -> str:
    """The text of an item: its `text`, or the only text that there is. Raises BadRecord."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    if "text" in texts:
        return str(texts["text"])
    if len(texts) != 1:
        raise BadRecord(key, "There must be a 'text', or one text only, to know what the prompt is.")
    return str(next(iter(texts.values())))
