"""Faults against the real service: nothing may be lost, and nothing done twice.

    python -m benchmarks.faults [--times 5] [--faults training_killed,redis_flushed] [--json] [--out DIR]

Every fault comes at random moments in the life of real jobs on one `realm up`. After each, the jobs must end as they
may, and the rules of invariants.py must hold. Lost: a job that did not end as it must, or data that was accepted and is
gone. Doubled: work that was done twice. Recovery: until what the fault hit went on (median, worst). A run with --out
that was stopped goes on where it was, as long as the code is the same.

Leaving out is said: `disk_full` needs root, for a small file system of its own, and `fast_clock` a C
compiler, for another clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.artifacts import get_artifacts
from app.database.session import transaction
from benchmarks.faults import processes, servers
from benchmarks.faults.clock import can_change_clocks
from benchmarks.faults.invariants import violations
from benchmarks.faults.results import Results, Row
from benchmarks.faults.stage import PATIENCE, Stage, Trial, stage, wait_for

FAULTS: dict[str, Callable[[Stage], Trial]] = {
    fault.__name__: fault
    for fault in (
        processes.training_killed,
        processes.worker_killed,
        servers.api_killed_in_upload,
        servers.api_killed_in_post,
        servers.redis_killed,
        servers.redis_flushed,
        servers.postgres_restarted,
        servers.postgres_connections_ended,
        servers.message_thrice,
        servers.two_reconcilers,
        processes.disk_full,
        processes.checkpoint_cut,
        processes.fast_clock,
        processes.cancel_races_with_success,
        processes.poison,
        servers.hundred_jobs,
    )
}
STORE_SIZE = "64m"


def main() -> int:
    options = _options()
    results = Results(options.out)
    with tempfile.TemporaryDirectory(prefix="realm-faults-") as name, small_disk(Path(name)) as disk:
        faults = possible(options.faults, disk)
        with stage(Path(name), disk or Path(name) / "artifacts", options.seed) as running:
            _tell(f"undisturbed: {running.seconds}")
            rows = [try_fault(running, results.row(fault), options.times, results) for fault in faults]
    table = results.write_table(rows, {name: (fault.__doc__ or "").strip() for name, fault in FAULTS.items()})
    print(json.dumps({"code": results.code, "faults": [row.summary() for row in rows]}) if options.json else table)
    return 0 if all(row.is_clean for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=5, help="how often each fault is tried; %(default)s by default")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, with commas; by default all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--out", type=Path, help="folder for the table and each result; go on with what is there")
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    return options


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A small file system for the artifacts, where we may make one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={STORE_SIZE},mode=700", "realm-faults", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def possible(names: list[str], disk: Path | None) -> list[str]:
    """The faults without those that cannot be made here, which is said."""
    missing = {
        "disk_full": None if disk else "a small file system cannot be mounted here (needs root)",
        "fast_clock": None if can_change_clocks() else "there is no C compiler to change its clock with",
    }
    for name in names:
        if missing.get(name):
            _tell(f"LEFT OUT: {name}: {missing[name]}")
    return [name for name in names if not missing.get(name)]


def try_fault(running: Stage, row: Row, times: int, results: Results) -> Row:
    """Make a fault until it was tried some times, and judge what is left each time."""
    while row.tried < times:
        try:
            trial = FAULTS[row.fault](running)
        except TimeoutError:
            trial = Trial(PATIENCE, lost=1)
        _judge(running, trial, row)
        row.seconds.append(round(trial.recovery_seconds, 1))
        results.keep(row)
        _tell(f"{row.fault} {row.tried}/{times}: {trial.recovery_seconds:.1f} s{'' if row.is_clean else f' {row}'}")
    return row


def _judge(running: Stage, trial: Trial, row: Row) -> None:
    row.tried += 1
    row.lost += trial.lost + sum(not _ends_as(running, job, allowed) for job, allowed in trial.jobs.items())
    row.doubled += trial.doubled
    wait_for(running.is_ready)
    with transaction() as session:
        row.violations += violations(session, get_artifacts())


def _ends_as(running: Stage, job: str, allowed: tuple[str, ...]) -> bool:
    try:
        end = running.end_of(job)
    except TimeoutError:
        _tell(f"{job} did not end: {running.job(job)}")
        return False
    if end["status"] not in allowed:
        _tell(f"{job} {end['status']} instead of {' or '.join(allowed)}: {end['error']}")
    return end["status"] in allowed


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
