"""The annotators of the sample: simulated, and known for what they are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.demo.phrases import LABELS
from app.demo.sample import Sample
from realm_core.simulation import Behaviour, SimulatedLabels, simulate_behaviours

_NAMES = tuple(LABELS)
_K = len(_NAMES)
LABELS_PER_MESSAGE = 4


@dataclass(frozen=True, eq=False)
class Character:
    """An annotator: what they are in words, how they answer, and the flag that the report should raise."""

    name: str
    what: str
    behaviour: Behaviour
    flag: str | None = None


def _good(name: str, accuracy: float) -> Character:
    return Character(name, f"good, right {accuracy:.0%} of the time", Behaviour.reliable(_K, accuracy))


CROWD = (
    _good("ada", 0.96),
    _good("bruno", 0.93),
    _good("chen", 0.9),
    _good("dalia", 0.85),
    _good("emeka", 0.8),
    Character("gustav", "guesses", Behaviour.guesser(_K), "guesser"),
    Character("samira", "always says praise", Behaviour.constant(_K, _NAMES.index("praise")), "always_same"),
    Character(
        "tomas",
        "takes billing for delivery and delivery for billing",
        Behaviour.swapper(_K, 0.92, _NAMES.index("billing"), _NAMES.index("delivery")),
        "swaps",
    ),
    Character("wanda", "worse than chance", Behaviour.reliable(_K, 0.06), "below_chance"),
    Character("yuki", "good at first, gets worse half-way", Behaviour.declining(_K, 0.94, 0.35), "drift"),
)


def annotate(sample: Sample, seed: int) -> SimulatedLabels:
    """What the crowd says about the messages."""
    behaviours = [character.behaviour for character in CROWD]
    return simulate_behaviours(sample.truth, behaviours, seed=seed, labels_per_item=LABELS_PER_MESSAGE)


def true_accuracy(sample: Sample, labels: SimulatedLabels) -> dict[str, float]:
    """The share of each annotator's labels that are right."""
    right = labels.label == sample.truth[labels.item]
    return {who.name: float(right[labels.annotator == number].mean()) for number, who in enumerate(CROWD)}


def majority_accuracy(sample: Sample, labels: SimulatedLabels) -> float:
    """How often the majority is right; a tie counts as its expected value."""
    votes = np.zeros((len(sample.truth), _K))
    np.add.at(votes, (labels.item, labels.label), 1)
    winners = votes == votes.max(axis=1, keepdims=True)
    return float((winners[np.arange(len(votes)), sample.truth] / winners.sum(axis=1)).mean())


def write_labels(path: Path, sample: Sample, labels: SimulatedLabels) -> None:
    """The file that is uploaded. It does not hold the truth."""
    assert labels.created_at is not None
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("prompt", "annotator", "label", "created_at"))
        for item, annotator, label, at in zip(
            labels.item, labels.annotator, labels.label, labels.created_at, strict=True
        ):
            when = datetime.fromtimestamp(at, UTC).isoformat()
            writer.writerow((sample.prompts[item], CROWD[annotator].name, _NAMES[label], when))
