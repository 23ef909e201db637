"""The sample of the demo: different messages, a crowd that is what it is said to be, a verdict that can be wrong."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.demo.comparison import n_covered, verdict
from app.demo.crowd import (
    CROWD,
    LABELS_PER_MESSAGE,
    Character,
    annotate,
    majority_accuracy,
    true_accuracy,
    write_labels,
)
from app.demo.phrases import CORES, LABELS
from app.demo.sample import Sample, new_messages, training_messages
from realm_core.aggregation import dawid_skene
from realm_core.annotations import Annotations, Task
from realm_core.simulation import SimulatedLabels

KINDS = list(LABELS)


@pytest.fixture(scope="module")
def messages() -> Sample:
    return training_messages(800, seed=1)


@pytest.fixture(scope="module")
def labels(messages: Sample) -> SimulatedLabels:
    return annotate(messages, seed=1)


def test_messages_are_distinct_and_of_all_kinds(messages: Sample) -> None:
    assert len(set(messages.prompts)) == 800
    assert np.bincount(messages.truth).tolist() == [200, 200, 200, 200]
    assert not any("{" in prompt or "  " in prompt for prompt in messages.prompts)


def test_the_same_seed_makes_the_same_messages(messages: Sample) -> None:
    assert training_messages(800, seed=1).prompts == messages.prompts
    assert training_messages(800, seed=2).prompts != messages.prompts


def test_new_messages_use_sentences_that_no_training_message_has(messages: Sample) -> None:
    """The first words of a sentence, up to its first slot, tell the sentences of a kind apart."""
    new = new_messages(100, seed=1)
    for kind, sentences in CORES.items():
        starts = [sentence.partition("{")[0] for sentence in sentences[-4:] if len(sentence.partition("{")[0]) > 8]
        assert any(start in prompt for prompt in new.prompts for start in starts), kind
        assert not any(start in prompt for prompt in messages.prompts for start in starts), kind


def test_no_class_is_given_away_by_its_first_word(messages: Sample) -> None:
    first_words = {word: set() for word in ("Hello,", "Hi", "Good", "Dear", "To", "Hey!")}
    for prompt, kind in zip(messages.prompts, messages.truth, strict=True):
        first_words.get(prompt.split()[0], set()).add(int(kind))
    assert all(kinds == {0, 1, 2, 3} for kinds in first_words.values())


def test_everybody_is_what_they_are_said_to_be(messages: Sample, labels: SimulatedLabels) -> None:
    truth = true_accuracy(messages, labels)
    good = [truth[who.name] for who in CROWD if who.flag is None]
    by_flag = {who.flag: truth[who.name] for who in CROWD if who.flag is not None}
    assert min(good) > 0.75
    assert by_flag["guesser"] == pytest.approx(0.25, abs=0.08)
    assert by_flag["below_chance"] < 0.15
    assert by_flag["swaps"] == pytest.approx(0.5, abs=0.1)
    constant = next(number for number, who in enumerate(CROWD) if who.flag == "always_same")
    assert set(labels.label[labels.annotator == constant]) == {KINDS.index("praise")}


def test_one_gets_worse_half_way(messages: Sample, labels: SimulatedLabels) -> None:
    number = next(number for number, who in enumerate(CROWD) if who.flag == "drift")
    own = labels.annotator == number
    right = (labels.label == messages.truth[labels.item])[own]
    half = len(right) // 2
    assert right[:half].mean() > 0.85
    assert right[half:].mean() < 0.5
    assert labels.created_at is not None
    assert np.all(np.diff(labels.created_at[own]) > 0)


def test_majority_vote_counts_a_tie_as_its_expected_value() -> None:
    messages = Sample(("a", "b"), np.array([0, 1], np.int32))
    votes = SimulatedLabels(
        item=np.array([0, 0, 1], np.int32),
        annotator=np.array([0, 1, 0], np.int32),
        label=np.array([0, 2, 1], np.int32),
        accuracy=np.ones((2, 1)),
        weight=np.ones((2, 1)),
    )
    assert majority_accuracy(messages, votes) == pytest.approx(0.75)


def test_the_sample_is_noisy_but_not_hopeless(messages: Sample, labels: SimulatedLabels) -> None:
    """The majority errs often, and truth inference alone does better: there is something to show."""
    annotations = Annotations(
        tasks=(Task("", tuple(KINDS)),),
        annotators=tuple(who.name for who in CROWD),
        item_ids=messages.prompts,
        item_task=np.zeros(800, np.int32),
        item=labels.item,
        annotator=labels.annotator,
        label=labels.label,
    )
    majority = majority_accuracy(messages, labels)
    inferred = float((dawid_skene(annotations).posterior.argmax(axis=1) == messages.truth).mean())
    assert 0.7 < majority < 0.85
    assert inferred > majority + 0.1


def test_the_file_holds_labels_and_no_truth(tmp_path: Path, messages: Sample, labels: SimulatedLabels) -> None:
    write_labels(tmp_path / "messages.csv", messages, labels)
    rows = list(csv.DictReader((tmp_path / "messages.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["prompt", "annotator", "label", "created_at"]
    assert len(rows) == 800 * LABELS_PER_MESSAGE
    assert {row["label"] for row in rows} == set(KINDS)
    assert datetime.fromisoformat(rows[0]["created_at"]) < datetime.fromisoformat(rows[-1]["created_at"])


def _row(name: str, flags: list[str], low: float | None, high: float | None) -> dict[str, Any]:
    return {"annotator": name, "flags": flags, "accuracy": {"value": low, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("flag", "flags", "right"),
    [
        (None, [], True),
        (None, ["drift"], False),
        ("swaps", ["swaps"], True),
        ("always_same", ["guesser", "always_same"], True),
        ("drift", [], False),
        ("guesser", ["below_chance"], False),
    ],
)
def test_a_verdict_is_right_when_the_report_names_the_fault(flag: str | None, flags: list[str], right: bool) -> None:
    who = Character("x", "", CROWD[0].behaviour, flag)
    assert verdict(who, _row("x", flags, 0.1, 0.2)) is right


def test_intervals_that_hold_the_truth_are_counted() -> None:
    rows = [_row("a", [], 0.8, 0.9), _row("b", [], 0.8, 0.9), _row("c", ["too_few_labels"], None, None)]
    assert n_covered(rows, {"a": 0.85, "b": 0.95, "c": 0.5}) == 1
