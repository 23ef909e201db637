"""The process that runs the models, as the API sees it: what it is started with, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Protocol

import psutil
from prometheus_client import Counter, Gauge

from app.settings import Settings

STARTS = Counter("realm_model_process_starts_total", "Starts of the process that runs the models.")
MEMORY = Gauge("realm_model_process_memory_bytes", "Resident memory of the process that runs the models.")
SECONDS_TO_END = 10.0


class ModelSide(Protocol):
    """What answers at the other end of a connection."""

    connection: socket.socket

    def end(self) -> str:
        """Wait until it has ended, which it does when the connection is closed; how it ended, for the log."""
        ...


class ModelProcess:
    """A process of its own, with as many threads as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self.connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.inference.model_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | _threads(settings.predict_threads),
                start_new_session=True,  # Ctrl-C in a terminal reaches only the API, which then closes the connection
            )
        STARTS.inc()
        MEMORY.set_function(self._memory)

    def end(self) -> str:
        try:
            code = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return str(signal.strsignal(-code)) if code < 0 else f"exit code {code}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def _memory(self) -> float:
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0.0


def _threads(n: int) -> dict[str, str]:
    """Of OpenMP and MKL so many, which sleep while they are idle: other processes share the cores."""
    return {
        "OMP_NUM_THREADS": str(n),
        "MKL_NUM_THREADS": str(n),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONSAFEPATH": "1",
    }
