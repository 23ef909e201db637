"""`python -m worker.training_team N JOB ATTEMPT`: N training processes that train one job together, one per GPU.

They find each other by the variables that torchrun would set, and join through accelerate (realm_core/team.py). All
stay in this process's group, so that a SIGKILL of the group ends them all; torchrun and `accelerate launch` start each
in a session of its own, which would outlive it. The first that ends badly ends the rest, and its exit code is ours.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

TRAINING_PROCESS = (sys.executable, "-m", "worker.training_process")
POLL_SECONDS = 0.2


def train_together(size: int, command: Sequence[str]) -> int:
    """Run the command `size` times; the exit code of the first process (0 is rank 0's), negative for a signal."""
    port = _free_port()
    team = [subprocess.Popen(command, env={**os.environ, **_place(rank, size, port)}) for rank in range(size)]
    while (code := _end_of(team)) is None:
        time.sleep(POLL_SECONDS)
    for process in team:
        process.kill()
        process.wait()
    return code


def _end_of(team: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """The exit code of the first process, or of another that ended badly; None while all go well."""
    codes = [process.poll() for process in team]
    return next((code for code in codes[1:] if code), codes[0])


def _place(rank: int, size: int, port: int) -> Mapping[str, str]:
    """What tells a process where in the team it is."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main(size: int, arguments: Sequence[str]) -> int:
    """As `train_together`; a signal that ended the first to end badly ends this process too."""
    code = train_together(size, [*TRAINING_PROCESS, *arguments])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
