"""A report's flags in plain words, with the figures that they rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from app.database.tables import AnnotatorReport


def percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def answer_name(answers: Sequence[str], number: int) -> str:
    """An answer as annotators write it; prompts with their own options have only numbers in common."""
    return f"“{answers[number]}”" if number < len(answers) else f"option {number + 1}"


def _too_few_labels(row: AnnotatorReport, answers: Sequence[str]) -> str:
    return f"{row.n} {'label' if row.n == 1 else 'labels'}; it takes at least 5 to tell."


def _below_chance(row: AnnotatorReport, answers: Sequence[str]) -> str:
    return f"Right at most {percent(row.accuracy_high or 0.0)} of the time, which is worse than guessing."


def _guesser(row: AnnotatorReport, answers: Sequence[str]) -> str:
    return f"Right {percent(row.accuracy or 0.0)} of the time, about what guessing gives."


def _always_same(row: AnnotatorReport, answers: Sequence[str]) -> str:
    found: dict[str, Any] | None = row.detail.get("always")
    if found is None:
        return "Gives nearly always the same answer, which the others do not."
    name, share = answer_name(answers, found["label"]), percent(found["share"])
    return f"Answers {name} {share} of the time, whatever the prompt."


def _swaps(row: AnnotatorReport, answers: Sequence[str]) -> str:
    found: dict[str, Any] | None = row.detail.get("swaps")
    if found is None:
        return "Gives one answer where another is right."
    true, given = answer_name(answers, found["true"]), answer_name(answers, found["given"])
    rate, low = percent(found["rate"]), percent(found["low"])
    return f"Gives {given} where {true} is probably right: {rate} of those prompts (at least {low})."


def _drift(row: AnnotatorReport, answers: Sequence[str]) -> str:
    found: dict[str, Any] | None = row.detail.get("drift")
    if found is None:
        return "Accuracy changed over time."
    day = datetime.fromtimestamp(found["at"], UTC).date().isoformat()
    before, after = found["before"], found["after"]
    turn = "worse" if after < before else "better"
    return f"Got {turn} around {day}: from {percent(before)} right to {percent(after)}."


_SENTENCES: dict[str, Callable[[AnnotatorReport, Sequence[str]], str]] = {
    "too_few_labels": _too_few_labels,
    "below_chance": _below_chance,
    "guesser": _guesser,
    "always_same": _always_same,
    "swaps": _swaps,
    "drift": _drift,
}


def reasons(row: AnnotatorReport, answers: Sequence[str]) -> list[str]:
    """A sentence for each flag of a row; `answers` are those of the task that its details count in."""
    return [_SENTENCES[flag](row, answers) for flag in row.flags]
