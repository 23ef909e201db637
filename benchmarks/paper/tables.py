"""Cells of the tables from runs, and the tables as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.paper.result_files import ResultFiles
from benchmarks.paper.settings import METHODS, Method, Setting
from benchmarks.paper.training_runs import Conditions
from realm_core.annotations import FloatArray

TITLES = {
    "1": "Table 1: uniform noise, three expertise distributions",
    "2": "Table 2: distribution ①, three noise types",
    "3": "Table 3: several tasks in one model, accuracy over all",
    "4": "Table 4: the learning rate of the expertise (paper preset, distribution ①, uniform)",
    "5": "Table 5: the number of annotators (uniform noise)",
    "6": "Table 6: distribution ②, three noise types",
    "7": "Table 7: distribution ③, three noise types",
    "8": "Table 8: several tasks in one model, by set",
    "figure": "Figure 1: distribution ①, accuracy at the end of the curves",
    "prototype": "Systematic noise in the two settings of the prototype (not in the paper): .9, .1, .1 and .7, .5, .4",
}
COMPARED: tuple[tuple[Method, Method], ...] = (("default", "noisy"), ("paper", "noisy"), ("default", "paper"))


@dataclass(frozen=True)
class Cell:
    """Accuracy of one method in one setting. `std` is the sample standard deviation over `seeds` runs, None for one."""

    table: str
    size: str
    dataset: str
    distribution: str
    noise: str
    mode: str
    method: str
    mean: float
    std: float | None
    seeds: int
    steps: int
    frozen: bool
    annotators: int
    expertise_learning_rate: float | None
    by_seed: dict[int, float]

    @property
    def row(self) -> tuple[Any, ...]:
        """What tells this row of a table from others; a method is a column."""
        rate = "" if self.expertise_learning_rate is None else f"{self.expertise_learning_rate:g}"
        return self.dataset, self.distribution, self.noise, self.mode, self.annotators, rate


Rows = dict[tuple[Any, ...], dict[str, Cell]]


def cells_of(
    table: str, settings: Sequence[Setting], results: ResultFiles, conditions: Conditions, seeds: Sequence[int]
) -> Iterator[Cell]:
    """The cells of a table for which there are runs with these seeds."""
    for setting in settings:
        for method in setting.methods:
            found = results.runs(setting, method)
            runs = {seed: found[seed] for seed in seeds if seed in found}
            if not runs:
                continue
            parts = setting.datasets if table == "8" else ("+".join(setting.datasets),)
            for part in parts:
                by_seed = {s: r["by_dataset"][part] if table == "8" else r["accuracy"] for s, r in runs.items()}
                yield _cell(table, setting, method, part, by_seed, conditions)


def _cell(
    table: str, setting: Setting, method: Method, dataset: str, by_seed: dict[int, float], conditions: Conditions
) -> Cell:
    values = list(by_seed.values())
    return Cell(
        table=table,
        size=conditions.model,
        dataset=dataset,
        distribution=setting.distribution,
        noise=setting.noise,
        mode=setting.mode,
        method=method,
        mean=float(np.mean(values)),
        std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        seeds=len(values),
        steps=conditions.steps,
        frozen=conditions.frozen,
        annotators=setting.annotators,
        expertise_learning_rate=setting.expertise_learning_rate,
        by_seed=by_seed,
    )


def differences(ours: Cell, other: Cell) -> FloatArray:
    """By how much ours is more accurate, of each seed that both have."""
    return np.array([ours.by_seed[seed] - other.by_seed[seed] for seed in ours.by_seed if seed in other.by_seed])


def verdict(ours: Cell, other: Cell) -> str:
    """Whether ours wins by more than the standard error of the difference over seeds."""
    difference = differences(ours, other)
    if len(difference) < 2:
        return "one seed"
    error = float(np.std(difference, ddof=1) / np.sqrt(len(difference)))
    if not abs(difference.mean()) > error:
        return "tie"
    return "win" if difference.mean() > 0 else "**loss**"


def markdown(cells: Sequence[Cell]) -> str:
    """All tables, accuracy in percent as mean ± standard deviation; of one seed where there is no deviation."""
    parts = [f"### {TITLES[table]}\n\n{_table(rows)}" for table, rows in _rows(cells).items()]
    return "\n".join([*parts, f"### Who wins\n\n{_tally(cells)}"] if parts else [])


def _rows(cells: Sequence[Cell]) -> dict[str, Rows]:
    """The cells of each table that has some, by row and method."""
    tables: dict[str, Rows] = {table: {} for table in TITLES}
    for cell in cells:
        tables[cell.table].setdefault(cell.row, {})[cell.method] = cell
    return {table: rows for table, rows in tables.items() if rows}


def _tally(cells: Sequence[Cell]) -> str:
    """How often who wins, by table and over all settings (each once; those of Table 8 are Table 3's, by set)."""
    tables = _rows(cells)
    everything = {row: of_row for table, rows in tables.items() if table != "8" for row, of_row in rows.items()}
    heading = ["table", "compared", "settings", "wins", "ties", "losses", "one seed", "mean difference in points"]
    lines = [heading, ["---"] * len(heading)]
    for table, rows in [*tables.items(), ("all", everything)]:
        for ours, other in COMPARED:
            if pairs := [pair for of_row in rows.values() if (pair := _pair(of_row, ours, other))]:
                count = Counter(verdict(*pair) for pair in pairs)
                mean = 100 * np.mean([differences(*pair).mean() for pair in pairs])
                numbers = [str(count[word]) for word in ("win", "tie", "**loss**", "one seed")]
                lines.append([table, f"{ours} vs. {other}", str(len(pairs)), *numbers, f"{mean:+.1f}"])
    return _lines(lines)


def _pair(of_row: dict[str, Cell], ours: Method, other: Method) -> tuple[Cell, Cell] | None:
    """Two cells of a row that have a seed in common."""
    if ours not in of_row or other not in of_row:
        return None
    pair = of_row[ours], of_row[other]
    return pair if len(differences(*pair)) else None


def _lines(cells: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def _table(rows: Rows) -> str:
    versus = [f"{ours} vs. {other}" for ours, other in COMPARED]
    heading = ["set", "distribution", "noise", "mode", "annotators", "expertise lr", *METHODS, *versus]
    body = [[*map(str, row), *_numbers(of_row)] for row, of_row in sorted(rows.items(), key=lambda pair: str(pair[0]))]
    keep = [i for i in range(len(heading)) if any(line[i] not in ("", "–") for line in body)]
    return _lines([[line[i] for i in keep] for line in (heading, ["---"] * len(heading), *body)])


def _numbers(of_row: dict[str, Cell]) -> list[str]:
    cells = [of_row.get(method) for method in METHODS]
    shown = ["–" if c is None else _mean_and_deviation(c) for c in cells]
    pairs = [_pair(of_row, ours, other) for ours, other in COMPARED]
    return [*shown, *(verdict(*pair) if pair else "–" for pair in pairs)]


def _mean_and_deviation(cell: Cell) -> str:
    deviation = "" if cell.std is None else f" ± {100 * cell.std:.1f}"
    return f"{100 * cell.mean:.1f}{deviation}"


def as_json(cells: Sequence[Cell]) -> dict[str, Any]:
    return {"cells": [{k: v for k, v in asdict(cell).items() if k != "by_seed"} for cell in cells]}
