"""Every fault of the benchmark, once; those that are quick, and that no other test makes, in `make test` too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from benchmarks.faults.__main__ import FAULTS, possible, small_disk, try_fault
from benchmarks.faults.results import Results, Row
from benchmarks.faults.stage import Stage, stage
from tests.conftest import no_settings

pytestmark = pytest.mark.timeout(1500)

QUICK = {"redis_killed", "postgres_restarted", "postgres_connections_ended", "checkpoint_cut"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("faults")
    with ExitStack() as cleanup:
        cleanup.enter_context(no_settings())
        disk = cleanup.enter_context(small_disk(folder))
        yield cleanup.enter_context(stage(folder, disk or folder / "artifacts", seed=os.getpid()))


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS]
)
def test_nothing_is_lost_or_doubled(running: Stage, fault: str) -> None:
    if not possible([fault], running.artifacts if os.path.ismount(running.artifacts) else None):
        pytest.skip("cannot be made here")
    row = try_fault(running, Row(fault), 1, Results(None))
    assert row.is_clean, row
