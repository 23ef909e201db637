"""Made-up crowds of any size, as arrays and as files that people would upload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from benchmarks.speed.texts import texts
from realm_core.annotations import Annotations, FloatArray, IntArray, Task

ANSWERS = ("business", "politics", "science", "sport", "weather")
FileKind = Literal["csv", "jsonl", "parquet"]
_ROWS_AT_ONCE = 1_000_000
_SENTENCES = 4000
_OFTEN_RIGHT = (0.55, 0.95)


@dataclass(frozen=True, eq=False)
class Crowd:
    """Labels in no order. `truth` (N,), `item`, `annotator`, `label` (L,)."""

    n_annotators: int
    truth: IntArray
    item: IntArray
    annotator: IntArray
    label: IntArray

    def annotations(self) -> Annotations:
        """The same without texts, for the core."""
        n = len(self.truth)
        return Annotations(
            tasks=(Task("default", ANSWERS),),
            annotators=tuple(f"ann_{number}" for number in range(self.n_annotators)),
            item_ids=tuple(map(str, range(n))),
            item_task=np.zeros(n, np.int32),
            item=self.item,
            annotator=self.annotator,
            label=self.label,
        )

    def frames(self) -> Iterator[pl.DataFrame]:
        """prompt, annotator, label: some rows at a time."""
        prompts, answers = _prompts(len(self.truth)), pl.Series(ANSWERS)
        for start in range(0, len(self.item), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            names = "annotator-" + pl.Series(self.annotator[part]).cast(pl.String)
            yield pl.DataFrame(
                {
                    "prompt": prompts.gather(self.item[part]),
                    "annotator": names,
                    "label": answers.gather(self.label[part]),
                }
            )

    def write(self, file: Path) -> Path:
        """As the format that the name ends with: .csv, .jsonl or .parquet."""
        if file.suffix == ".parquet":
            pl.concat(self.frames()).write_parquet(file)
            return file
        with file.open("wb") as target:
            for number, frame in enumerate(self.frames()):
                if file.suffix == ".csv":
                    frame.write_csv(target, include_header=number == 0)
                else:
                    frame.write_ndjson(target)
        return file


def make_crowd(n_items: int, per_item: int, n_annotators: int, seed: int = 0) -> Crowd:
    """`per_item` labels of different annotators for each item; annotators are right 55 to 95 % of the time."""
    rng = np.random.default_rng(seed)
    n_labels, k = n_items * per_item, len(ANSWERS)
    truth = rng.integers(k, size=n_items, dtype=np.int32)
    accuracy = rng.uniform(*_OFTEN_RIGHT, n_annotators)
    first = rng.integers(n_annotators, size=n_items, dtype=np.int32)
    step = n_annotators // per_item
    row = rng.permutation(n_labels).astype(np.int32)
    item = row // per_item
    annotator = (first[item] + step * (row % per_item)) % np.int32(n_annotators)
    wrong = rng.random(n_labels, np.float32) >= accuracy[annotator]
    label = (truth[item] + wrong * rng.integers(1, k, size=n_labels, dtype=np.int32)) % k
    return Crowd(n_annotators, truth, item, annotator.astype(np.int32), label.astype(np.int32))


def simulated_model(truth: IntArray) -> FloatArray:
    """log p(y | x) (N, K) of a model that is right four times in five, and unsure."""
    rng = np.random.default_rng(1)
    k = len(ANSWERS)
    favourite = np.where(rng.random(len(truth)) < 0.8, truth, rng.integers(k, size=len(truth)))
    log_p: FloatArray = np.log(np.where(np.arange(k) == favourite[:, None], 0.6, 0.4 / (k - 1)))
    return log_p


def _prompts(n: int) -> pl.Series:
    """Different texts of about 200 characters, with quotes, commas and letters beyond ASCII."""
    rng = np.random.default_rng(2)
    sentences = pl.Series(texts(_SENTENCES, 3, median=16, sigma=0.4, longest=40))
    first, second = (sentences.gather(rng.integers(_SENTENCES, size=n)) for _ in range(2))
    parts = pl.DataFrame({"number": np.arange(n), "first": first, "second": second})
    text = pl.format('№ {}: {}, he said: "{}" – naïve café, 你好', "number", "first", "second")
    return parts.select(text).to_series()
