"""Cells of the tables from runs, and the tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.paper.result_files import ResultFiles
from benchmarks.paper.settings import METHODS, Method, Setting
from benchmarks.paper.training_runs import Conditions

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
    values: tuple[float, ...]

    @property
    def row(self) -> tuple[Any, ...]:
        """What tells this row of a table from others; a method is a column."""
        rate = "" if self.expertise_learning_rate is None else f"{self.expertise_learning_rate:g}"
        return self.dataset, self.distribution, self.noise, self.mode, self.annotators, rate


def cells_of(
    table: str, settings: Sequence[Setting], results: ResultFiles, conditions: Conditions, seeds: Sequence[int]
) -> Iterator[Cell]:
    """The cells of a table for which there are runs with these seeds."""
    for setting in settings:
        for method in setting.methods:
            found = results.runs(setting, method)
            runs = [found[seed] for seed in seeds if seed in found]
            if not runs:
                continue
            parts = setting.datasets if table == "8" else ("+".join(setting.datasets),)
            for part in parts:
                values = [r["by_dataset"][part] if table == "8" else r["accuracy"] for r in runs]
                yield _cell(table, setting, method, part, values, conditions)


def _cell(
    table: str, setting: Setting, method: Method, dataset: str, values: Sequence[float], conditions: Conditions
) -> Cell:
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
        values=tuple(values),
    )


def verdict(default: Cell, noisy: Cell) -> str:
    """Whether our default wins over noisy fine-tuning by more than the standard error of the difference over seeds."""
    n = min(len(default.values), len(noisy.values))
    difference = np.array(default.values[:n]) - np.array(noisy.values[:n])
    error = float(np.std(difference, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    if not abs(difference.mean()) > error:
        return "tie" if n > 1 else "one seed"
    return "win" if difference.mean() > 0 else "**loss**"


def markdown(cells: Sequence[Cell]) -> str:
    """All tables, accuracy in percent as mean ± standard deviation; of one seed where there is no deviation."""
    parts = []
    for table in TITLES:
        rows: dict[tuple[Any, ...], dict[str, Cell]] = {}
        for cell in cells:
            if cell.table == table:
                rows.setdefault(cell.row, {})[cell.method] = cell
        if rows:
            parts.append(f"### {TITLES[table]}\n\n{_table(rows)}")
    return "\n".join(parts)


def _table(rows: dict[tuple[Any, ...], dict[str, Cell]]) -> str:
    heading = ["set", "distribution", "noise", "mode", "annotators", "expertise lr", *METHODS, "default vs. noisy"]
    body = [[*map(str, row), *_numbers(of_row)] for row, of_row in sorted(rows.items(), key=lambda pair: str(pair[0]))]
    keep = [i for i in range(len(heading)) if any(line[i] not in ("", "–") for line in body)]
    lines = [[line[i] for i in keep] for line in (heading, ["---"] * len(heading), *body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _numbers(of_row: dict[str, Cell]) -> list[str]:
    cells = [of_row.get(method) for method in METHODS]
    shown = ["–" if c is None else _mean_and_deviation(c) for c in cells]
    default, noisy = of_row.get("default"), of_row.get("noisy")
    return [*shown, "–" if default is None or noisy is None else verdict(default, noisy)]


def _mean_and_deviation(cell: Cell) -> str:
    deviation = "" if cell.std is None else f" ± {100 * cell.std:.1f}"
    return f"{100 * cell.mean:.1f}{deviation}"


def as_json(cells: Sequence[Cell]) -> dict[str, Any]:
    return {"cells": [{k: v for k, v in asdict(cell).items() if k != "values"} for cell in cells]}
