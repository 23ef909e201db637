"""The paper's eight tables and its learning curves, on simulated annotators.

    python -m benchmarks.paper --quick [--data FOLDER] [--out DIR] [--tables 1,2] [--seeds 2] [--json]
    python -m benchmarks.paper --full --model minilm --seeds 5 --steps 300 --sets trec6,sst2 --out DIR
    python -m benchmarks.paper --full --model google/flan-t5-small --out DIR-small      (on a GPU; base, large likewise)

--quick reads every text once with the pretrained encoder and trains what stands behind its embeddings ("frozen
features"); --full fine-tunes the whole model. Each setting and method has a file of its own under --out, and a command
that was stopped goes on where it was; --processes makes so many runs at once, of one thread each. One folder has one
model and one set of conditions: three model sizes are three commands. --report makes the tables of what there is and
trains nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from benchmarks.paper import figure
from benchmarks.paper.question_sets import QuestionSet, available, data_folder, read_set
from benchmarks.paper.result_files import ResultFiles
from benchmarks.paper.runners import Made, Wanted, make_runs
from benchmarks.paper.settings import DISTRIBUTIONS, METHODS, MODES, NOISES, TABLES, Method, Setting, settings_of
from benchmarks.paper.tables import as_json, cells_of, markdown
from benchmarks.paper.training_runs import Conditions
from realm_core.simulation import Reading

MULTI = ("arc_challenge", "openbookqa", "riddlesense", "trec6")  # together in Tables 3 and 8; trec6 for RiddleSense
CURVE = ("piqa", "sst2", "riddlesense", "trec6")


def main() -> None:
    options = _options()
    folder = data_folder(options.data)
    sets = _sets(folder, options)
    conditions = Conditions(
        model=options.model,
        frozen=options.quick,
        steps=options.steps,
        batch_size=options.batch_size,
        prompts=options.prompts,
        max_length=options.max_length,
        reading=options.reading,
    )
    results = ResultFiles(options.out, conditions)
    settings = {table: _settings(table, sets, options) for table in options.tables}
    seeds = range(options.seeds)
    if not options.report:
        wanted = _missing(settings, results, options)
        for count, made in enumerate(
            make_runs(wanted, sets, conditions, options.out / "embeddings", options.processes)
        ):
            _keep(made, results, f"{count + 1}/{len(wanted)}")
    cells = [cell for table in settings for cell in cells_of(table, settings[table], results, conditions, seeds)]
    title = f"{options.model}, {'frozen features' if options.quick else 'fine-tuned'}, {options.seeds} seeds"
    figure.draw(settings.get("figure", []), results, seeds, title, options.out / "paper.png")
    text = markdown(cells)
    (options.out / "paper.json").write_text(json.dumps(as_json(cells), indent=1) + "\n")
    (options.out / "paper.md").write_text(f"{title}\n\n{text}")
    print(json.dumps(as_json(cells)) if options.json else text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--quick", action="store_true", help="frozen features of an encoder")
    how.add_argument("--full", action="store_true", help="fine-tune the whole model")
    parser.add_argument("--data", type=Path, help="the data folder; REALM_BENCH_DATA by default")
    parser.add_argument("--out", type=Path, default=Path("paper-results"), help="where results are kept and looked for")
    parser.add_argument("--model", default="minilm", help="minilm, or a name of the hub such as google/flan-t5-small")
    parser.add_argument("--tables", type=_names(TABLES), default=list(TABLES), help="with commas; all by default")
    parser.add_argument("--sets", type=lambda text: text.split(","), help="with commas; all that are there by default")
    parser.add_argument("--methods", type=_names(METHODS), default=list(METHODS), help="with commas; all by default")
    parser.add_argument("--modes", type=_names(MODES), default=list(MODES), help="shared,exclusive by default")
    parser.add_argument("--noises", type=_names(NOISES), default=list(NOISES), help="with commas; all by default")
    parser.add_argument("--distributions", type=_names(DISTRIBUTIONS), default=list(DISTRIBUTIONS), help="likewise")
    parser.add_argument("--seeds", type=int, help="how many; 2 with --quick and 5 with --full by default")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps of a run; %(default)s by default")
    parser.add_argument("--batch-size", type=int, help="prompts of a step; 32 with --quick, 8 with --full")
    parser.add_argument("--prompts", type=int, default=2000, help="to train on, at most; %(default)s by default")
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a prompt; %(default)s by default")
    parser.add_argument("--reading", choices=get_args(Reading), default="accuracy", help="what .9 and .1 are: a or w")
    parser.add_argument("--processes", type=_positive, help="runs at once; one per core with --quick, 1 with --full")
    parser.add_argument("--report", action="store_true", help="train nothing, make the tables of what there is")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    options.seeds = options.seeds or (2 if options.quick else 5)
    options.batch_size = options.batch_size or (32 if options.quick else 8)
    options.processes = options.processes or (os.cpu_count() or 1 if options.quick else 1)
    return options


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        if unknown := sorted(set(text.split(",")) - set(known)):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return text.split(",")

    return names


def _sets(folder: Path, options: argparse.Namespace) -> dict[str, QuestionSet]:
    there = available(folder)
    if unknown := sorted(set(options.sets or ()) - set(there)):
        raise SystemExit(f"No set {', '.join(unknown)} in {folder!s}; there are {', '.join(there)}.")
    return {name: read_set(folder, name, there[name]) for name in options.sets or there}


def _settings(table: str, sets: dict[str, QuestionSet], options: argparse.Namespace) -> list[Setting]:
    multi, curve = ([name for name in names if name in sets] for names in (MULTI, CURVE))
    single = [name for name in sets if table != "prototype" or name == "trec6"]
    every = settings_of(table, single, multi, curve, options.modes)
    return [one for one in every if one.noise in options.noises and one.distribution in options.distributions]


def _missing(settings: dict[str, list[Setting]], results: ResultFiles, options: argparse.Namespace) -> list[Wanted]:
    """The runs that are not there yet, seed by seed, so that a first seed of everything is there early.

    One oracle belongs to many settings; it has a curve where one of them wants it.
    """
    unique: dict[tuple[str, Method], Wanted] = {}
    for setting in (one for of_table in settings.values() for one in of_table):
        for method in setting.methods:
            key = setting.of(method).name, method
            if method in options.methods and (setting.curve or key not in unique):
                unique[key] = Wanted(setting, method, 0)
    every = [replace(one, seed=seed) for seed in range(options.seeds) for one in unique.values()]
    return [one for one in every if not results.has(one.setting, one.method, one.seed)]


def _keep(made: Made, results: ResultFiles, count: str) -> None:
    setting, method, seed, run = made.wanted.setting, made.wanted.method, made.wanted.seed, made.run
    results.add(setting, method, seed, run)
    told = f"{setting.of(method).name} {method} seed {seed}: {run.accuracy:.4f}, {run.channel}"
    print(f"[{count}] {told}, {made.seconds:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
