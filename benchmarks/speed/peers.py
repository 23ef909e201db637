"""What predict is measured against, each a server of its own: the same model behind LitServe, and an endpoint that does
nothing.

    python -m benchmarks.speed.peers litserve FOLDER padded|packed PORT
    python -m benchmarks.speed.peers nothing PORT
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_PATIENCE = 60.0


@contextmanager
def peer(*arguments: str) -> Iterator[str]:
    """The URL of a peer that runs until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.speed.peers", *arguments, str(port)]
    url = f"http://127.0.0.1:{port}"
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            _wait_for(f"{url}/health", process)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # LitServe's own processes outlive a gentler end


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"no answer from {url}")


def serve_nothing(port: int) -> None:
    """FastAPI as it comes, and an endpoint that answers at once."""
    import uvicorn
    from fastapi import FastAPI

    application = FastAPI()

    @application.get("/health")
    async def health() -> str:
        return "ok"

    @application.post("/predict")
    async def predict(body: dict[str, str]) -> list[dict[str, float]]:
        return [{"score": 1.0}]

    uvicorn.run(application, host="127.0.0.1", port=port, http="h11", access_log=False, log_level="warning")


if __name__ == "__main__":
    if sys.argv[1] == "litserve":
        from benchmarks.speed.litserve_model import serve

        serve(Path(sys.argv[2]), int(sys.argv[4]), packed=sys.argv[3] == "packed")
    else:
        serve_nothing(int(sys.argv[2]))
