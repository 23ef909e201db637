"""What the paper's tables and its figure are made of: settings, each trained by several methods.

Tables 1, 2, 6 and 7 share settings (uniform noise under distribution ① stands in 1 and 2), and 3 and 8 show the same
runs whole and by set; a setting is run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from realm_core.annotations import FloatArray
from realm_core.simulation import Mode, Noise, Pattern, distribution, task_pattern

Method = Literal["oracle", "noisy", "majority_vote", "dawid_skene", "paper", "default"]
METHODS: tuple[Method, ...] = ("oracle", "noisy", "majority_vote", "dawid_skene", "paper", "default")
NOISES: tuple[Noise, ...] = ("uniform", "asymmetric", "systematic")
MODES: tuple[Mode, ...] = ("shared", "exclusive")
PATTERNS: dict[str, Pattern] = {"1": "own", "2": "others", "3": "distance"}
# The second setting of the systematic noise that the prototype was measured in; not a table of the paper.
PROTOTYPE = {"prototype": (0.7, 0.5, 0.4)}
DISTRIBUTIONS = ("1", "2", "3", *PROTOTYPE)
EXPERTISE_LEARNING_RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ANNOTATOR_COUNTS = (3, 5, 10)
TABLES = ("1", "2", "3", "4", "5", "6", "7", "8", "figure", "prototype")


@dataclass(frozen=True)
class Setting:
    """One simulated crowd, but for the seed. Several `datasets`: all tasks of one model, expertise by `PATTERNS`."""

    datasets: tuple[str, ...]
    distribution: str
    noise: Noise
    mode: Mode
    annotators: int = 3
    expertise_learning_rate: float | None = None
    curve: bool = False

    @property
    def expertise(self) -> FloatArray:
        """(R,), or (R, T) for several tasks."""
        if len(self.datasets) > 1:
            return task_pattern(PATTERNS[self.distribution], len(self.datasets))
        if self.distribution in PROTOTYPE:
            return np.array(PROTOTYPE[self.distribution])
        return distribution(int(self.distribution), self.annotators)

    def of(self, method: Method) -> Setting:
        """The setting as far as it matters to the method: who learns from gold sees no annotator."""
        if method != "oracle":
            return self
        return Setting(self.datasets, "1", "uniform", "shared")

    @property
    def methods(self) -> tuple[Method, ...]:
        """Which methods to compare. With one label per prompt, aggregating leaves the labels as they are."""
        if self.expertise_learning_rate is not None:
            return ("oracle", "paper")
        if self.mode == "exclusive":
            return ("oracle", "noisy", "paper", "default")
        return METHODS

    @property
    def name(self) -> str:
        """Unique, and fit for a file."""
        parts = ["+".join(self.datasets), f"dist{self.distribution}", self.noise, self.mode]
        if self.annotators != 3:
            parts.append(f"{self.annotators}annotators")
        if self.expertise_learning_rate is not None:
            parts.append(f"lr{self.expertise_learning_rate:g}")
        return "-".join(parts)


def settings_of(
    table: str, single: Sequence[str], multi: Sequence[str], curve: Sequence[str], modes: Sequence[Mode] = MODES
) -> Iterator[Setting]:
    """The settings of a table. single: sets trained one by one; multi: those trained together; curve: of the figure.

    The ablations (4, 5) and the figure are of shared annotation under uniform noise, as far as the text says; the
    figure has all noises.
    """
    if table in ("3", "8"):
        yield from (Setting(tuple(multi), d, n, m) for d in PATTERNS for n in NOISES for m in modes if len(multi) > 1)
    elif table == "4":
        for rate in EXPERTISE_LEARNING_RATES:
            yield from (Setting((s,), "1", "uniform", "shared", expertise_learning_rate=rate) for s in single)
    elif table == "5":
        for count in ANNOTATOR_COUNTS:
            yield from (Setting((s,), "1", "uniform", "shared", annotators=count) for s in single)
    elif table == "figure":
        yield from (Setting((s,), "1", n, "shared", curve=True) for s in curve for n in NOISES)
    elif table == "prototype":
        yield from (Setting((s,), d, "systematic", "shared") for s in single for d in ("1", *PROTOTYPE))
    else:
        distributions = "123" if table == "1" else {"2": "1", "6": "2", "7": "3"}[table]
        noises = NOISES[:1] if table == "1" else NOISES
        yield from (Setting((s,), d, n, m) for s in single for d in distributions for n in noises for m in modes)
