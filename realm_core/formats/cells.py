"""What a cell may hold: checks on whole columns of a block, and the numbers and times in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import polars as pl

from realm_core.formats.columns import COLUMNS, ROW
from realm_core.formats.faults import Fault, Faults, is_unicode
from realm_core.formats.json_lines import json_text, parse_json
from realm_core.formats.reading_options import Limits

_END_OF_TIME = 253_402_300_800  # the year 10000 in unix seconds
_LARGEST_DURATION = 2**31 - 1
_LARGEST_COST = 1e30
_NAMES = ("annotator", "task")


@dataclass(frozen=True)
class _Rule:
    """Rows where `broken` holds are bad."""

    column: str
    code: str
    detail: str
    broken: pl.Expr


def clean(frame: pl.DataFrame, *, has_text: bool, limits: Limits, faults: Faults) -> pl.DataFrame:
    """The good rows of a block of text columns, empty cells null, times and numbers as numbers; faults are noted."""
    present = [name for name in COLUMNS if name in frame.columns]
    needed = ["annotator", "label", "prompt" if has_text else "item_id"]
    frame = _without_broken(frame, _rules(present, needed, limits), faults)
    optional = [name for name in present if name not in needed]
    frame = frame.with_columns(pl.when(~_blank(name)).then(pl.col(name)).alias(name) for name in optional)
    for column, read in _READ_VALUES.items():
        if column in present:
            frame = _read_column(frame, column, partial(read, limits=limits), faults)
    return frame


def _blank(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")


def _rules(present: list[str], needed: list[str], limits: Limits) -> list[_Rule]:
    return [
        *(_Rule(name, f"empty_{name}", f"The {name} is empty.", _blank(name)) for name in needed),
        *(_too_long(name, limits.max_name_bytes if name in _NAMES else limits.max_field_bytes) for name in present),
        *(
            _Rule(
                name,
                "nul_character",
                "The text has a NUL character, which cannot be kept.",
                pl.col(name).str.contains("\0", literal=True),
            )
            for name in present
        ),
    ]


def _too_long(name: str, limit: int) -> _Rule:
    return _Rule(name, "too_long", f"The text is longer than {limit:,} bytes.", pl.col(name).str.len_bytes() > limit)


def _without_broken(frame: pl.DataFrame, rules: list[_Rule], faults: Faults) -> pl.DataFrame:
    marks = frame.select(rule.broken.fill_null(False).alias(str(index)) for index, rule in enumerate(rules))
    if not any(mark.any() for mark in marks):
        return frame
    found = [
        Fault(row, rule.column, rule.code, rule.detail)
        for rule, mark in zip(rules, marks, strict=True)
        for row in frame[ROW].filter(mark)
    ]
    broken = marks.select(pl.any_horizontal(pl.all())).to_series()
    faults.add(sorted(found, key=lambda fault: fault.row), int(broken.sum()))
    return frame.filter(~broken)


class _Unreadable(ValueError):
    """A cell that holds no such value; the message is for the user."""


def _read_column(frame: pl.DataFrame, column: str, read: Callable[[str], object], faults: Faults) -> pl.DataFrame:
    """Replace the texts of a column by their values, each distinct text being read once; bad rows are dropped."""
    table = frame.select(pl.col(column).unique().drop_nulls())
    values: list[object] = []
    reasons: list[str | None] = []
    for text in table[column]:
        try:
            values.append(read(text))
            reasons.append(None)
        except _Unreadable as error:
            values.append(None)
            reasons.append(str(error))
    table = table.with_columns(pl.Series("value", values, _TYPES[column]), pl.Series("reason", reasons, pl.String))
    frame = frame.join(table, on=column, how="left", maintain_order="left")
    bad = frame.filter(pl.col("reason").is_not_null()).select(ROW, "reason")
    if bad.height:
        faults.add((Fault(row, column, f"invalid_{column}", reason) for row, reason in bad.rows()), bad.height)
        frame = frame.filter(pl.col("reason").is_null())
    return frame.drop(column, "reason").rename({"value": column})


def _options(text: str, limits: Limits) -> str:
    """This prompt's own choices, as JSON that is equal for equal choices."""
    try:
        given = parse_json(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, list):
        raise _Unreadable('options must be a JSON list, such as ["red", "green"].')
    choices = [str(choice).lower() if isinstance(choice, bool) else choice for choice in given]
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise _Unreadable("Each of the options must be a text that is not empty.")
    if any("\0" in choice or not is_unicode(choice) for choice in choices):
        raise _Unreadable("An option has a character that cannot be kept: NUL, or half of a surrogate pair.")
    if not 2 <= len(choices) <= limits.max_answers:
        raise _Unreadable(f"There are {len(choices):,} options; 2 to {limits.max_answers:,} are allowed.")
    if len(set(choices)) < len(choices):
        raise _Unreadable("Two of the options are equal.")
    return json_text(choices)


def _created_at(text: str, limits: Limits) -> float:
    """Unix seconds of unix seconds or an ISO 8601 time, which is UTC when it names no zone."""
    seconds = _number(text)
    if seconds is None:
        try:
            time = datetime.fromisoformat(text.strip())
        except ValueError:
            raise _Unreadable("The time must be unix seconds or ISO 8601, such as 2026-01-31T12:00:00Z.") from None
        seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < _END_OF_TIME:
        raise _Unreadable("The time is out of range; unix times are in seconds, from 1970 on.")
    return seconds


def _duration_ms(text: str, limits: Limits) -> int:
    milliseconds = _number(text)
    if milliseconds is None or not 0 <= milliseconds <= _LARGEST_DURATION:
        raise _Unreadable(f"The duration must be a number of milliseconds from 0 to {_LARGEST_DURATION:,}.")
    return round(milliseconds)


def _cost(text: str, limits: Limits) -> float:
    cost = _number(text)
    if cost is None or abs(cost) > _LARGEST_COST:
        raise _Unreadable("The cost must be a number.")
    return cost


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


_READ_VALUES: dict[str, Callable[..., object]] = {
    "options": _options,
    "created_at": _created_at,
    "duration_ms": _duration_ms,
    "cost": _cost,
}
_TYPES = {"options": pl.String, "created_at": pl.Float64, "duration_ms": pl.Int32, "cost": pl.Float32}
