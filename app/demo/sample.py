"""Messages to a shop: each is about a bill, a delivery or a defect, or it is praise.

What a message is about is said once. Greetings, asides and closings are shared by all kinds, and an aside may well
mention a parcel in a complaint about a bill, so that no single word gives the answer away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.demo.phrases import ASIDES, CLOSINGS, CORES, GREETINGS, LABELS, SLOTS
from realm_core.annotations import IntArray

_KINDS = tuple(LABELS)
_NEW_CORES = 4  # sentences per kind that are kept for the messages that the model is tried on
_LATE = 0.3  # share of the messages that come to the point late


@dataclass(frozen=True, eq=False)
class Sample:
    """Messages and what each is about, as an index into LABELS."""

    prompts: tuple[str, ...]
    truth: IntArray


def training_messages(n: int, seed: int) -> Sample:
    """`n` different messages in random order, as many of each kind as goes."""
    return _sample({kind: CORES[kind][:-_NEW_CORES] for kind in _KINDS}, n, seed)


def new_messages(n: int, seed: int) -> Sample:
    """`n` messages that say what they are about in words that no training message has."""
    return _sample({kind: CORES[kind][-_NEW_CORES:] for kind in _KINDS}, n, seed)


def _sample(cores: dict[str, tuple[str, ...]], n: int, seed: int) -> Sample:
    random = np.random.default_rng(seed)
    found: dict[str, int] = {}
    while len(found) < n:
        kind = len(found) % len(_KINDS)
        found.setdefault(_message(cores[_KINDS[kind]], random), kind)
    order = random.permutation(n)
    prompts, truth = list(found), np.fromiter(found.values(), np.int32)
    return Sample(tuple(prompts[i] for i in order), truth[order])


def _message(cores: tuple[str, ...], random: np.random.Generator) -> str:
    comes_late = random.random() < _LATE
    said = (GREETINGS, ASIDES, cores, CLOSINGS) if comes_late else (GREETINGS, cores, ASIDES, CLOSINGS)
    sentences = [_sentence(_pick(part, random), random) for part in said]
    return " ".join(sentence for sentence in sentences if sentence)


def _sentence(pattern: str, random: np.random.Generator) -> str:
    text = pattern.format_map({name: _pick(words, random) for name, words in SLOTS.items()})
    return text[:1].upper() + text[1:]


def _pick(choices: tuple[str, ...] | list[str], random: np.random.Generator) -> str:
    return choices[int(random.integers(len(choices)))]
