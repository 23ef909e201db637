"""`realm api` as a process of its own, for tests of those who talk to it from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture(scope="session")
def live_url(services: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it listens. There is no worker: jobs stay queued."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", Path(tmp_path_factory.mktemp("api") / "log")
    command = [sys.executable, "-m", "app.cli", "api", "--port", str(port)]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=dict(os.environ)) as process:
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield url
        process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return False
