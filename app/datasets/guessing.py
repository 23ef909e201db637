"""Which columns of an unknown file are ours: guessed from what they are called and what stands in them, with why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import mean
from typing import NamedTuple

from realm_core.formats.columns import COLUMNS

FEW_ANSWERS = 20  # distinct labels that a small file may have and still look like answers
MOSTLY = 0.9

# What other tools and people call our columns, the likelier first.
_NAMES: dict[str, tuple[str, ...]] = {
    "annotator": ("annotator", "worker", "rater", "coder", "user", "username", "reviewer", "labeler", "labeller",
                  "judge", "crowdworker", "completedby", "createdby", "email", "who"),
    "label": ("label", "answer", "choice", "response", "annotation", "class", "category", "rating", "judgement",
              "judgment", "verdict", "value", "sentiment"),
    "prompt": ("prompt", "text", "sentence", "question", "document", "content", "message", "utterance", "comment",
               "review", "tweet", "input", "body"),
    "item_id": ("itemid", "item", "textid", "exampleid", "documentid", "docid", "sampleid", "recordid", "promptid",
                "questionid", "taskid", "id"),
    "task": ("task", "tasktype", "tasksort", "questionname"),
    "options": ("options", "choices", "alternatives"),
    "gold": ("gold", "truth", "goldlabel", "truelabel", "groundtruth", "expected"),
    "created_at": ("createdat", "timestamp", "submittedat", "date", "time", "created", "labelledat", "annotatedat"),
    "duration_ms": ("durationms", "milliseconds", "timetakenms"),
    "cost": ("cost", "price", "reward", "payment", "pay"),
}  # fmt: skip
_SUFFIXES = ("id", "name")  # worker_id and worker_name are the worker


class Guess(NamedTuple):
    """One of our columns, the file's column that it probably is, and why."""

    ours: str
    theirs: str
    why: str


def guess_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Guess]:
    """The guesses for a file by its header and first rows, each column used once, in the order of our columns."""
    guesses: dict[str, Guess] = {}
    for name in COLUMNS:
        guess = _by_name(name, [one for one in columns if one not in _used(guesses)])
        if guess is not None:
            guesses[name] = guess
    for name, find in _BY_CONTENT.items():
        if name not in guesses:
            left = [
                (column, [row[place] for row in rows if row[place]])
                for place, column in enumerate(columns)
                if column not in _used(guesses)
            ]
            found = find([(column, values) for column, values in left if values])
            if found is not None:
                guesses[name] = Guess(name, *found)
    return [guesses[name] for name in COLUMNS if name in guesses]


def _used(guesses: dict[str, Guess]) -> set[str]:
    return {guess.theirs for guess in guesses.values()}


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column.lower())


def _by_name(ours: str, columns: Sequence[str]) -> Guess | None:
    """A column that is called as ours is, or as others call it."""
    if ours in columns:
        return Guess(ours, ours, "It has our name.")
    known = {name + suffix: name for name in reversed(_NAMES[ours]) for suffix in ("", *_SUFFIXES)}
    called = {_plain(column): column for column in reversed(columns)}
    for name in _NAMES[ours]:
        for plain, column in called.items():
            if known.get(plain) == name:
                return Guess(ours, column, f"“{column[:60]}” is a usual name for it.")
    return None


Columns = list[tuple[str, list[str]]]
Found = tuple[str, str] | None


def _longest_text(columns: Columns) -> Found:
    lengths = {column: mean(map(len, values)) for column, values in columns}
    column = max(lengths, key=lengths.__getitem__, default=None)
    if column is None or lengths[column] < 15:
        return None
    return column, f"It has the longest texts, {lengths[column]:.0f} characters on average."


def _few_answers(columns: Columns) -> Found:
    """The column with the fewest different values that are not all the same."""
    distinct = {column: len(set(values)) for column, values in columns if 1 < len(set(values)) <= FEW_ANSWERS}
    column = min(distinct, key=distinct.__getitem__, default=None)
    return None if column is None else (column, f"It has only {distinct[column]} different values.")


def _repeated_names(columns: Columns) -> Found:
    """A column whose values come again and again, and are short."""
    for column, values in columns:
        different = len(set(values))
        if 1 < different < MOSTLY * len(values) and max(map(len, values)) <= 60:
            return column, f"Its {different} different values come again and again, as people do."
    return None


_BY_CONTENT: dict[str, Callable[[Columns], Found]] = {
    "prompt": _longest_text,
    "label": _few_answers,
    "annotator": _repeated_names,
}
