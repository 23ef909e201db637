"""How much work a run does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """What is repeated how often, and how much data there is."""

    rounds: int  # of A B
    requests: int
    per_item: int
    annotations: int
    many_annotations: int
    few_annotations: int
    appended: int
    annotators: int
    pages: int
    steps: int


FULL = Size(
    rounds=2,
    requests=2000,
    per_item=5,
    annotations=1_000_000,
    many_annotations=10_000_000,
    few_annotations=100_000,
    appended=10_000,
    annotators=10_000,
    pages=9,
    steps=20,
)
QUICK = Size(
    rounds=1,
    requests=200,
    per_item=5,
    annotations=20_000,
    many_annotations=100_000,
    few_annotations=10_000,
    appended=1000,
    annotators=200,
    pages=3,
    steps=3,
)
