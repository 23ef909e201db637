"""Tasks and their answers, numbered: those that were declared, and otherwise those that are seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.columns import ROW
from realm_core.formats.faults import Fault, Faults, TooLarge
from realm_core.formats.json_lines import parse_json
from realm_core.formats.reading_options import DEFAULT_TASK, Answers, DeclaredAnswers, Limits

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class KnownTask:
    """A task and the answers found so far (name -> description), in label order. A declared one has all of its."""

    name: str
    declared: bool
    answers: Answers = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = {name: number for number, name in enumerate(self.answers)}

    def find(self, label: str) -> int | None:
        return self._numbers.get(label)

    def add(self, label: str, max_answers: int) -> int:
        if len(self.answers) == max_answers:
            detail = f"Task {self.name[:60]!r} has more than {max_answers:,} distinct labels: is its label a free text?"
            raise TooLarge("too_many_labels", detail)
        self.answers[label] = label
        return self._numbers.setdefault(label, len(self._numbers))

    def sort(self, used: NDArray[np.bool_], n_fixed: int) -> IntArray:
        """Put the answers in order, numbers by size, and drop those not used; the first `n_fixed` stay.

        Returns the new number of each old one.
        """
        names = list(self.answers)
        found = sorted((name for number, name in enumerate(names) if used[number] and number >= n_fixed), key=_order)
        self.answers = {name: self.answers[name] for name in [*names[:n_fixed], *found]}
        self.__post_init__()
        return np.array([self._numbers.get(name, UNKNOWN) for name in names], np.int32)


def _order(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


class AnswerBook:
    """Finds the number of each label: among its prompt's own options, else among the answers of its task."""

    def __init__(self, declared: DeclaredAnswers, limits: Limits, known: Sequence[KnownTask] = ()) -> None:
        self._declared = declared
        self._limits = limits
        self.tasks = list(known)
        self._n_known = [len(task.answers) for task in known]
        self._task_numbers = {task.name: number for number, task in enumerate(known)}

    def task_numbers(self, frame: pl.DataFrame) -> IntArray:
        """The task of each row."""
        if "task" not in frame.columns:
            return np.full(frame.height, self._task(DEFAULT_TASK), np.int32)
        names = frame.select(pl.col("task").fill_null(DEFAULT_TASK))
        distinct = names.unique(maintain_order=True)
        numbers = pl.Series("number", [self._task(name) for name in distinct["task"]], pl.Int32)
        return names.join(distinct.with_columns(numbers), on="task", how="left", maintain_order="left")[
            "number"
        ].to_numpy()

    def _task(self, name: str) -> int:
        number = self._task_numbers.get(name)
        if number is None:
            if len(self.tasks) == self._limits.max_tasks:
                raise TooLarge("too_many_tasks", f"There are more than {self._limits.max_tasks:,} tasks.")
            number = self._task_numbers[name] = len(self.tasks)
            declared = self._declared.of(name)
            self.tasks.append(KnownTask(name, declared is not None, dict(declared or {})))
        return number

    def without_unknown(self, frame: pl.DataFrame, column: str, faults: Faults) -> pl.DataFrame:
        """The rows whose `column` (label or gold) can be an answer; the others are faults."""
        choices = _distinct(frame, column)
        reasons = [self._reason(task, options, label) for task, options, label in _triples(choices, column)]
        if not any(reasons):
            return frame
        marked = _joined(frame, choices.with_columns(pl.Series("reason", reasons, pl.String)))
        bad = marked.filter(pl.col("reason").is_not_null()).select(ROW, "reason")
        faults.add((Fault(row, column, f"unknown_{column}", reason) for row, reason in bad.rows()), bad.height)
        return marked.filter(pl.col("reason").is_null()).drop("reason")

    def _reason(self, task: str, options: str | None, label: str | None) -> str | None:
        """Why a label cannot be; None when it can."""
        if label is None:
            return None
        if options is not None:
            own = parse_json(options)
            return None if _choice(own, label) is not None else f"{_short(label)} is none of the options {_shown(own)}."
        known = self._task_numbers.get(task)
        answers = (
            self.tasks[known].answers if known is not None and self.tasks[known].declared else self._declared.of(task)
        )
        return (
            None
            if answers is None or label in answers
            else f"{_short(label)} is none of the labels {_shown(list(answers))}."
        )

    def numbers(self, frame: pl.DataFrame, column: str) -> IntArray:
        """The number of the answer that each row's `column` gives, UNKNOWN where it is empty."""
        choices = _distinct(frame, column)
        numbers = [self._number(task, options, label) for task, options, label in _triples(choices, column)]
        found = _joined(frame, choices.with_columns(pl.Series("number", numbers, pl.Int32)))
        return found["number"].to_numpy()

    def _number(self, task: str, options: str | None, label: str | None) -> int:
        if label is None:
            return UNKNOWN
        if options is not None:
            choice = _choice(parse_json(options), label)
            assert choice is not None  # `without_unknown` saw it
            return choice
        known = self.tasks[self._task(task)]
        number = known.find(label)
        return known.add(label, self._limits.max_answers) if number is None else number

    def sort(self, used: NDArray[np.bool_]) -> IntArray:
        """Give found answers a lasting order. `used` (T, K) says which are in use; returns their new numbers (T, K)."""
        renumbered = np.full(used.shape, UNKNOWN, np.int32)
        for number, task in enumerate(self.tasks):
            n_fixed = self._n_known[number] if number < len(self._n_known) else len(task.answers) * task.declared
            moved = task.sort(used[number], n_fixed)
            renumbered[number, : len(moved)] = moved
        return renumbered


def _distinct(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    return frame.select(name for name in ("task", "options", column) if name in frame.columns).unique(
        maintain_order=True
    )


def _triples(choices: pl.DataFrame, column: str) -> Iterator[tuple[str, str | None, str | None]]:
    for row in choices.iter_rows(named=True):
        yield row.get("task") or DEFAULT_TASK, row.get("options"), row[column]


def _joined(frame: pl.DataFrame, choices: pl.DataFrame) -> pl.DataFrame:
    keys = choices.columns[:-1]
    return frame.join(choices, on=keys, how="left", nulls_equal=True, maintain_order="left")


def _choice(options: Sequence[str], label: str) -> int | None:
    """The option that a label means: by its text, else its letter, else its index from 0."""
    if label in options:
        return options.index(label)
    if len(label) == 1 and label.upper() in _LETTERS and _LETTERS.index(label.upper()) < len(options):
        return _LETTERS.index(label.upper())
    if label.isdecimal() and label.isascii() and len(label) < 5 and int(label) < len(options):
        return int(label)
    return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _shown(answers: Sequence[str]) -> str:
    return ", ".join(map(_short, answers[:10])) + (", …" if len(answers) > 10 else "")


def similar_labels(answers: Sequence[str]) -> list[tuple[str, ...]]:
    """Labels that differ only in case or spaces."""
    alike: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        alike["".join(answer.split()).casefold()].append(answer)
    return [tuple(group) for group in alike.values() if len(group) > 1]
