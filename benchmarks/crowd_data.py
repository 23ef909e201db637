"""The folder of real crowds with gold: `crowd/NAME.csv.gz`, `crowd_notext/NAME.csv.gz` and their `NAME.gold.csv.gz`.

Gold is for scoring only; nothing that trains reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from realm_core.annotations import UNKNOWN, Annotations, IntArray, Task


@dataclass(frozen=True)
class CrowdSet:
    """A set of the folder: labels and gold as text columns, as they stand in the files."""

    name: str
    path: Path
    has_text: bool

    @property
    def labels(self) -> pl.DataFrame:
        """item_id, annotator, label, and prompt where there is text; one row per label that was given."""
        return _read(self.path)

    @property
    def gold(self) -> dict[str, str]:
        """The right label of each item that has one."""
        frame = _read(self.path.with_name(f"{self.name}.gold.csv.gz"))
        return dict(zip(frame["item_id"], frame["label"], strict=True))


def _read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def data_folder(given: Path | None) -> Path:
    """The folder that --data or REALM_BENCH_DATA names. Raises SystemExit with a sentence when there is none."""
    folder = given or Path(os.environ.get("REALM_BENCH_DATA", ""))
    if not (folder / "crowd").is_dir() and not (folder / "crowd_notext").is_dir():
        raise SystemExit(f"No crowd data in {folder!s}: name the data folder with --data or REALM_BENCH_DATA.")
    return folder


def crowd_sets(folder: Path, names: list[str] | None = None) -> list[CrowdSet]:
    """The sets with gold, those with text first, or the named ones. Raises SystemExit for an unknown name."""
    found = {
        path.name.removesuffix(".gold.csv.gz"): CrowdSet(
            path.name.removesuffix(".gold.csv.gz"), path.with_name(path.name.replace(".gold", "")), kind == "crowd"
        )
        for kind in ("crowd", "crowd_notext")
        for path in sorted((folder / kind).glob("*.gold.csv.gz"))
    }
    unknown = sorted(set(names or ()) - set(found))
    if unknown:
        raise SystemExit(f"No set {', '.join(unknown)} in {folder!s}; there are {', '.join(found)}.")
    return [found[name] for name in names or found]


def annotations_of(crowd: CrowdSet) -> Annotations:
    """The set as arrays, the last label of each (item, annotator) counting; gold where it is one of the answers."""
    labels = crowd.labels.unique(["item_id", "annotator"], keep="last", maintain_order=True)
    items = labels.unique("item_id", keep="first", maintain_order=True)
    answers, annotators = (sorted(labels[column].unique()) for column in ("label", "annotator"))
    of_item, of_annotator, of_answer = (
        {name: index for index, name in enumerate(names)} for names in (items["item_id"], annotators, answers)
    )
    gold = crowd.gold
    return Annotations(
        tasks=(Task(crowd.name, tuple(answers)),),
        annotators=tuple(annotators),
        item_ids=tuple(items["item_id"]),
        item_task=np.zeros(len(items), dtype=np.int32),
        item=_indices(labels["item_id"], of_item),
        annotator=_indices(labels["annotator"], of_annotator),
        label=_indices(labels["label"], of_answer),
        prompts=tuple(items["prompt"]) if crowd.has_text else None,
        gold=np.array([of_answer.get(gold.get(name, ""), UNKNOWN) for name in items["item_id"]], dtype=np.int32),
    )


def _indices(names: pl.Series, index_of: dict[str, int]) -> IntArray:
    return np.array([index_of[name] for name in names], dtype=np.int32)
