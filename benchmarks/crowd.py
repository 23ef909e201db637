"""Labels and annotators by all tools, on real crowds with gold.

    python -m benchmarks.crowd [--data FOLDER] [--sets a,b] [--no-text] [--no-budget] [--skip glad] [--json] [--out DIR]

Every tool gets the same labels, the last of each (item, annotator). Gold only scores. `ours` reads the text where there
is text (frozen MiniLM features, a cross-fitted linear head), `ours_without_text` never does; both are what the service
reports with everything left at its default. CROWDLAB gets the cross-validated probabilities that `ours` gets.

The label-budget curve keeps 1, 2, 3, … labels of each prompt, drawn from the real ones, and averages over draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.crowd_data import annotations_of, crowd_sets, data_folder
from benchmarks.crowd_scores import Score, label_accuracy, score
from benchmarks.crowd_tools import PEERS, Inferred, TextReader, crowdlab, ours
from realm_core.annotations import Annotations

MAX_GLAD_LABELS = 50_000  # GLAD takes minutes on more; --all-glad runs it all the same
MAX_BUDGET = 5
MAX_BUDGET_LABELS = 50_000  # of a set whose budget curve is drawn
TOOLS = ("ours", "ours_without_text", *PEERS, "crowdlab")


@dataclass(frozen=True)
class DrawsMean:
    """The mean over draws, and its standard error; None of one draw."""

    mean: float
    standard_error: float | None


@dataclass(frozen=True)
class BudgetPoint:
    """Accuracy of the labels with so many labels of each prompt; `ours` is None where no text was read."""

    labels_per_prompt: int
    ours: DrawsMean | None
    ours_without_text: DrawsMean
    majority_vote: DrawsMean


@dataclass(frozen=True)
class SetResult:
    """One set: the score of each tool that ran, why others did not, and the label-budget curve."""

    name: str
    n_items: int
    n_annotators: int
    n_labels: int
    n_gold: int
    tools: dict[str, Score]
    left_out: dict[str, str]
    budget: list[BudgetPoint]


def main() -> None:
    options = _options()
    sets = crowd_sets(data_folder(options.data), options.sets.split(",") if options.sets else None)
    results = []
    for crowd in sets:
        results.append(run_set(annotations_of(crowd), crowd.name, options))
        _tell(f"{crowd.name}: " + ", ".join(f"{name} {s.accuracy:.4f}" for name, s in results[-1].tools.items()))
    document = {"mean_accuracy": mean_accuracy(results), "sets": [asdict(result) for result in results]}
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "crowd.json").write_text(json.dumps(document, indent=1) + "\n")
        (options.out / "crowd.md").write_text(markdown(results))
    print(json.dumps(document) if options.json else markdown(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="the data folder; REALM_BENCH_DATA by default")
    parser.add_argument("--sets", help="names, with commas; all by default")
    parser.add_argument("--no-text", action="store_true", help="leave the text out")
    parser.add_argument("--no-budget", action="store_true", help="leave the label-budget curve out")
    parser.add_argument("--draws", type=int, default=5, help="of the labels of a budget; %(default)s by default")
    parser.add_argument("--skip", default="", help="tools to leave out, with commas: " + ", ".join(TOOLS[2:]))
    parser.add_argument("--all-glad", action="store_true", help=f"GLAD on more than {MAX_GLAD_LABELS} labels, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--out", type=Path, help="write JSON and Markdown to this folder")
    options = parser.parse_args()
    options.skip = [name for name in options.skip.split(",") if name]
    if unknown := sorted(set(options.skip) - set(TOOLS[2:])):
        parser.error(f"--skip: there is no tool {', '.join(unknown)}; there are {', '.join(TOOLS[2:])}")
    return options


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run_set(annotations: Annotations, name: str, options: argparse.Namespace) -> SetResult:
    """All tools on one set."""
    gold = annotations.gold
    assert gold is not None
    tools: dict[str, Score] = {}
    left_out = dict.fromkeys(options.skip, "left out by --skip")
    if annotations.n_labels > MAX_GLAD_LABELS and not options.all_glad:
        left_out.setdefault("glad", f"more than {MAX_GLAD_LABELS:,} labels: --all-glad")
    for tool, infer in PEERS.items():
        if tool not in left_out:
            tools[tool] = _timed(annotations, lambda infer=infer: infer(annotations))
    tools["ours_without_text"] = _timed(annotations, lambda: ours(annotations))
    reader = _read_text(annotations, options.no_text, tools, left_out)
    for tool, reason in left_out.items():
        _tell(f"{name}: {tool} did not run: {reason}")
    budget = [] if options.no_budget else list(_budget(annotations, reader, options.draws))
    return SetResult(
        name,
        annotations.n_items,
        len(np.unique(annotations.annotator)),
        annotations.n_labels,
        int((gold >= 0).sum()),
        {tool: tools[tool] for tool in TOOLS if tool in tools},
        left_out,
        budget,
    )


def _timed(annotations: Annotations, infer: Any, seconds_before: float = 0.0) -> Score:
    started = time.perf_counter()
    inferred: Inferred = infer()
    return score(annotations, inferred, seconds_before + time.perf_counter() - started)


def _read_text(
    annotations: Annotations, no_text: bool, tools: dict[str, Score], left_out: dict[str, str]
) -> TextReader | None:
    """Add the tools that need text; the seconds of `ours` contain the reading, those of CROWDLAB do not."""
    if no_text or annotations.prompts is None:
        tools["ours"] = tools["ours_without_text"]
        left_out["crowdlab"] = "it needs a model's probabilities, and no text is read"
        return None
    started = time.perf_counter()
    reader = TextReader(annotations)
    log_p = reader.log_p(annotations)
    tools["ours"] = _timed(annotations, lambda: ours(annotations, log_p), time.perf_counter() - started)
    if "crowdlab" not in left_out:
        tools["crowdlab"] = _timed(annotations, lambda: crowdlab(annotations, log_p))
    return reader


def _budget(annotations: Annotations, reader: TextReader | None, draws: int) -> Iterator[BudgetPoint]:
    """Accuracy with 1, 2, 3, … labels of each prompt."""
    per_item = np.bincount(annotations.item, minlength=annotations.n_items)
    if annotations.n_labels > MAX_BUDGET_LABELS:
        return
    for n in range(1, min(MAX_BUDGET, int(np.median(per_item[per_item > 0]))) + 1):
        choices = [annotations.select_labels(drawn(annotations, n, draw)) for draw in range(draws)]
        yield BudgetPoint(
            n,
            None if reader is None else _mean_accuracy(annotations, [ours(c, reader.log_p(c)) for c in choices]),
            _mean_accuracy(annotations, [ours(c) for c in choices]),
            _mean_accuracy(annotations, [PEERS["majority_vote"](c) for c in choices]),
        )


def _mean_accuracy(annotations: Annotations, draws: Sequence[Inferred]) -> DrawsMean:
    found = [label_accuracy(annotations, one.answers) for one in draws]
    error = float(np.std(found, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
    return DrawsMean(float(np.mean(found)), error)


def drawn(annotations: Annotations, n: int, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which labels stay (L,) when n of each item do, or all where it has fewer."""
    order = np.random.default_rng(seed).permutation(annotations.n_labels)
    order = order[np.argsort(annotations.item[order], kind="stable")]
    item = annotations.item[order]
    first = np.searchsorted(item, item)
    keep = np.zeros(annotations.n_labels, dtype=np.bool_)
    keep[order[np.arange(len(item)) - first < n]] = True
    return keep


def mean_accuracy(results: Sequence[SetResult]) -> dict[str, float]:
    """Mean over the sets of each tool that ran on all of them."""
    return {
        tool: float(np.mean([result.tools[tool].accuracy for result in results]))
        for tool in TOOLS
        if all(tool in result.tools for result in results)
    }


def markdown(results: Sequence[SetResult]) -> str:
    """The tables, and what did not run."""
    means = mean_accuracy(results)
    mean_row = ["**mean**", *(f"**{means[tool]:.4f}**" if tool in means else "–" for tool in TOOLS)]
    parts = ["Accuracy of the labels, a tie at its expected value:\n", _table(results, _accuracy_cell, mean_row)]
    parts += ["As the tools print them, ties broken their way:\n", _table(results, lambda s: _number(s.own_accuracy))]
    parts += [
        "Spearman / RMSE of annotator accuracy (5 or more labels with gold):\n",
        _table(results, _annotators_cell),
    ]
    parts += ["Seconds:\n", _table(results, lambda s: f"{s.seconds:.1f}")]
    parts += [
        "Label budget (accuracy with n labels of each prompt, mean over draws ± standard error):\n",
        _budget_table(results),
    ]
    missing = [f"- {r.name}: {tool}: {why}" for r in results for tool, why in r.left_out.items()]
    return "\n".join([*parts, "Did not run:\n", *missing]) + "\n"


def _table(results: Sequence[SetResult], cell: Any, last: list[str] | None = None) -> str:
    rows = [[r.name, *(cell(r.tools[tool]) if tool in r.tools else "–" for tool in TOOLS)] for r in results]
    return _rows(["set", *TOOLS], [*rows, *([last] if last else [])])


def _rows(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *rows)]
    return "\n".join(lines) + "\n"


def _budget_table(results: Sequence[SetResult]) -> str:
    return _rows(
        ["set", "labels per prompt", "ours", "ours_without_text", "majority_vote"],
        [
            [r.name, str(p.labels_per_prompt), *map(_drawn_cell, (p.ours, p.ours_without_text, p.majority_vote))]
            for r in results
            for p in r.budget
        ],
    )


def _drawn_cell(one: DrawsMean | None) -> str:
    if one is None or one.standard_error is None:
        return _number(None if one is None else one.mean)
    return f"{one.mean:.4f} ± {one.standard_error:.4f}"


def _accuracy_cell(one: Score) -> str:
    return _number(one.accuracy)


def _annotators_cell(one: Score) -> str:
    return f"{_number(one.spearman, 3)} / {_number(one.rmse, 3)}"


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
