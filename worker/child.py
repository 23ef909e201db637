"""A training process: started in a process group of its own, listened to, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

LOG_TAIL_BYTES = 16 * 1024
_CHUNK_BYTES = 4096


class Child:
    """A process whose standard input is a pipe that closes when this worker dies, which tells it to end.

    Its output goes on to the worker's own, and the last of it is kept.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        self._tail = bytearray()
        self._listener = threading.Thread(target=self._listen, name="child output", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        output = self._process.stdout
        assert output is not None
        while chunk := os.read(output.fileno(), _CHUNK_BYTES):
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()
            self._tail += chunk
            del self._tail[:-LOG_TAIL_BYTES]

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when the process runs on after `seconds`; -9 means killed by SIGKILL."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, grace_seconds: float) -> None:
        """End the whole group: SIGTERM, then after the grace SIGKILL. Returns when the process has gone."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self.wait(grace_seconds)
        self._signal(signal.SIGKILL)  # also whatever the process left behind in its group
        self._process.wait()
        self._listener.join(timeout=1.0)
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None and not self._listener.is_alive():
            self._process.stdout.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def log_tail(self) -> str:
        """The last output, a partial first line left out."""
        text = bytes(self._tail).decode(errors="replace")
        return text if len(self._tail) < LOG_TAIL_BYTES else text.partition("\n")[2] or text
