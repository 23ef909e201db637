"""A service for as long as a block of code runs: the demo, the benchmarks and the tests start `realm up` with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.child_process import leashed
from app.data_folder import StartupError

_SECONDS_TO_STOP = 60.0


@dataclass(frozen=True)
class RunningService:
    """Where the service is, a key for it, and the link that logs a browser in, once."""

    url: str
    api_key: str
    login_link: str | None


@contextmanager
def running_service(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[RunningService]:
    """Start `realm up` on a free port, and stop it at the end. `settings` are REALM_* variables. Raises StartupError.

    It has a session of its own, so that Ctrl-C reaches only us, and is on a leash, so that it ends with us in any case.
    """
    command = (sys.executable, "-m", "app.cli", "up", "--json", "--port", "0", "--data-dir", str(data_dir))
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            leashed(command, signal.SIGTERM, None),
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1", **(settings or {})},  # safe from an `app` in the current folder
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                said.seek(0)
                message = said.read().strip().removeprefix("Error: ")
                raise StartupError(message or f"`realm up` ended with exit code {process.returncode}.")
            yield _from(json.loads(line))
        finally:
            _stop(process)


def _from(state: dict[str, Any]) -> RunningService:
    key_file = Path(state["api_key_file"])
    if not key_file.exists():
        raise StartupError(f"The database has API keys already, and none of them is in {key_file}; put one there.")
    return RunningService(state["url"], key_file.read_text().strip(), state["login_link"])


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
