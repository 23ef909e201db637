"""`python -m worker.training_process JOB ATTEMPT`: the child in which one attempt trains, started by supervisor.py."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

KILL_ME_FIRST = "500"  # of the kernel, when memory runs out: rather this process than its worker


def main(job_id: str, attempt: int) -> int:
    """Tie this process to its supervisor, and only then import what takes its time; returns the exit code."""
    threading.Thread(target=_end_with_supervisor, name="supervisor watch", daemon=True).start()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILL_ME_FIRST)
    from worker.training import run_attempt

    return run_attempt(job_id, attempt)


def _end_with_supervisor() -> None:
    """The supervisor holds our standard input open. When it dies, this process group does, and the lease runs out."""
    while os.read(0, 1):  # not sys.stdin, whose lock the interpreter needs when it ends
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
