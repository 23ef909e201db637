"""Out-of-memory kills are read where the kernel counts them."""

from __future__ import annotations

from pathlib import Path

from worker.memory import oom_kills


def test_the_own_control_group_first_then_the_machine(tmp_path: Path) -> None:
    own, vmstat = tmp_path / "cgroup", tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 7\n")
    own.write_text("4:memory:/old\n0::/pod/worker\n")
    assert oom_kills(tmp_path, own, vmstat) == 7
    group = tmp_path / "pod" / "worker"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(tmp_path, own, vmstat) == 2


def test_nothing_known_is_no_kill(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert oom_kills(missing, missing, missing) == 0
