"""How often the kernel killed for lack of memory: what tells an out-of-memory kill from any other SIGKILL."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")


def oom_kills(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP, vmstat: Path = VMSTAT) -> int:
    """Out-of-memory kills so far in this process's control group, else where that is not known on the machine."""
    for source in (_memory_events(cgroups, own_cgroup), vmstat):
        kills = _counter(source)
        if kills is not None:
            return kills
    return 0


def _memory_events(cgroups: Path, own_cgroup: Path) -> Path:
    """memory.events of this process's group in the unified hierarchy: the line `0::/path`."""
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return cgroups / path / "memory.events"


def _counter(source: Path) -> int | None:
    try:
        lines = source.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
