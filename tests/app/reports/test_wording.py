"""Flags in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from app.database.tables import AnnotatorReport
from app.reports.wording import reasons

ANSWERS = ("yes", "no", "maybe")


def row(flag: str, **values: Any) -> AnnotatorReport:
    return AnnotatorReport(
        **({"n": 40, "accuracy": 0.31, "accuracy_high": 0.4, "flags": [flag], "detail": {}} | values)
    )


@pytest.mark.parametrize(
    ("flag", "values", "sentence"),
    [
        ("too_few_labels", {"n": 1}, "1 label; it takes at least 5 to tell."),
        ("below_chance", {}, "Right at most 40 % of the time, which is worse than guessing."),
        ("guesser", {}, "Right 31 % of the time, about what guessing gives."),
        (
            "always_same",
            {"detail": {"always": {"label": 2, "share": 0.97}}},
            "Answers “maybe” 97 % of the time, whatever the prompt.",
        ),
        (
            "swaps",
            {"detail": {"swaps": {"true": 0, "given": 1, "rate": 0.8, "low": 0.66}}},
            "Gives “no” where “yes” is probably right: 80 % of those prompts (at least 66 %).",
        ),
        (
            "drift",
            {"detail": {"drift": {"at": 1_764_000_000.0, "before": 0.9, "after": 0.5}}},
            "Got worse around 2025-11-24: from 90 % right to 50 %.",
        ),
        (
            "drift",
            {"detail": {"drift": {"at": 1_764_000_000.0, "before": 0.5, "after": 0.9}}},
            "Got better around 2025-11-24: from 50 % right to 90 %.",
        ),
    ],
)
def test_a_flag_is_said_with_its_figures(flag: str, values: dict[str, Any], sentence: str) -> None:
    assert reasons(row(flag, **values), ANSWERS) == [sentence]


@pytest.mark.parametrize("flag", ["always_same", "swaps", "drift"])
def test_a_row_over_several_tasks_has_no_figures_for_some_flags(flag: str) -> None:
    (sentence,) = reasons(row(flag, detail={"swaps": None}), ())
    assert sentence.endswith(".")


def test_answers_that_prompts_bring_have_numbers_only() -> None:
    swaps = {"swaps": {"true": 0, "given": 3, "rate": 0.8, "low": 0.66}}
    (sentence,) = reasons(row("swaps", detail=swaps), ())
    assert sentence.startswith("Gives option 4 where option 1 is probably right")
