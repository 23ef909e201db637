"""The folder of real crowds with gold: `crowd/NAME.csv.gz`, `crowd_notext/NAME.csv.gz` and their `NAME.gold.csv.gz`.

Gold is for scoring only; nothing that trains reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl


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
