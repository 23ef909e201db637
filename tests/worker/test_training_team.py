"""Several processes that train one job live and die as one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from worker import training_team
from worker.failures import Failure
from worker.gpus import slots_of

PLACE = "import os, sys, time; rank = int(os.environ['RANK']); "


def run(code: str, size: int = 2) -> int:
    return training_team.train_together(size, [sys.executable, "-c", PLACE + code])


def test_each_knows_its_place(tmp_path: Path) -> None:
    names = "('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR')"
    wait = "while rank == 0 and len(os.listdir(folder)) < 3: time.sleep(0.01)"
    code = (
        f"folder = {str(tmp_path)!r}; open(f'{{folder}}/{{rank}}', 'w').write(' '.join(map(os.environ.get, {names})))"
    )
    assert run(f"{code}\n{wait}", 3) == 0
    assert {path.read_text() for path in tmp_path.iterdir()} == {f"{rank} {rank} 3 127.0.0.1" for rank in range(3)}


@pytest.mark.parametrize(("end", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", -9)])
def test_the_first_that_ends_badly_ends_all(end: str, code: int, tmp_path: Path) -> None:
    pids = f"open({str(tmp_path)!r} + f'/{{os.getpid()}}', 'w').close()"
    both = f"while len(os.listdir({str(tmp_path)!r})) < 2: time.sleep(0.01)"
    assert run(f"{pids}\n{both}\nif rank == 1: {end}\ntime.sleep(600)") == code
    assert not any(psutil.pid_exists(int(path.name)) for path in tmp_path.iterdir())


def test_the_end_of_the_first_rank_is_the_end() -> None:
    assert run("time.sleep(600 * rank)") == 0


def test_a_signal_ends_the_launcher_as_it_ended_the_process() -> None:
    code = "\n".join(
        (
            "import sys",
            "from worker import training_team",
            "crash = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'",
            "training_team.TRAINING_PROCESS = (sys.executable, '-c', crash)",
            "sys.exit(training_team.main(2, []))",
        )
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGSEGV


def test_the_first_failure_of_a_team_is_its_reason(tmp_path: Path) -> None:
    cause = Failure("not_identifiable", "There is no label to learn from.")
    cause.write(tmp_path / "failure.json")
    Failure("internal_error", "Connection closed by peer.").write(tmp_path / "failure.json")
    assert Failure.read(tmp_path / "failure.json") == cause


def test_gpus_in_groups() -> None:
    assert slots_of(("0", "1", "2"), 1) == ("0", "1", "2")
    assert slots_of(("0", "1", "4", "5", "6"), 2) == ("0,1", "4,5")
    assert slots_of((), 2) == ()
    with pytest.raises(ValueError, match="REALM_PROCESSES_PER_JOB is 2, and this worker sees 1"):
        slots_of(("0",), 2)
