"""How fast the service is, always beside a reference that is measured in the same run, in turns.

    python -m benchmarks.speed [--quick] [--rows 1,6,9] [--json] [--out DIR]

Only ratios count: seconds depend on the machine and on what else it does. `--quick` takes little data, to see that all
of it runs; its ratios mean nothing. The whole takes about an hour, 8 GB of memory and 30 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.speed import pages, serving, start_up, statistics, training, truth, uploads
from benchmarks.speed.ratio import Ratio, markdown
from benchmarks.speed.size import FULL, QUICK, Size

GROUPS: tuple[Callable[[set[int], Size], Iterator[Ratio]], ...] = (
    uploads.rows,
    pages.rows,
    statistics.rows,
    training.rows,
    serving.rows,
    truth.rows,
    start_up.rows,
)
ALL_ROWS = range(1, 15)


def main() -> None:
    options = _options()
    ratios: list[Ratio] = []
    failed = measure(options.rows, QUICK if options.quick else FULL, ratios.append)
    missing = "".join(f"\nNot measured, as it failed: {name}\n" for name in failed)
    table = f"{_machine()}\n\n{markdown(ratios)}{missing}"
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "speed.md").write_text(table)
    print(json.dumps({"ratios": [one.as_dict() for one in ratios], "failed": failed}) if options.json else table)
    sys.exit(1 if failed else 0)


def measure(wanted: set[int], size: Size, found: Callable[[Ratio], None]) -> list[str]:
    """Report the ratios of some rows as they are found; returns which groups of rows failed. The others go on."""
    failed = []
    for rows in GROUPS:
        try:
            for ratio in rows(wanted, size):
                print(markdown([ratio]).splitlines()[-1], file=sys.stderr, flush=True)
                found(ratio)
        except Exception:
            traceback.print_exc()
            failed.append(rows.__module__.rpartition(".")[2])
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="little data: does it run?")
    parser.add_argument("--rows", type=_numbers, default=set(ALL_ROWS), help="numbers, with commas; all by default")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--out", type=Path, help="write Markdown to this folder")
    return parser.parse_args()


def _numbers(given: str) -> set[int]:
    numbers = {int(part) for part in given.split(",")}
    if not numbers <= set(ALL_ROWS):
        raise argparse.ArgumentTypeError(f"rows are {ALL_ROWS[0]} to {ALL_ROWS[-1]}")
    return numbers


def _machine() -> str:
    cores, load = os.cpu_count(), os.getloadavg()[2]
    return f"{cores} cores; load of the last quarter of an hour at the end, our own included: {load:.1f}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
