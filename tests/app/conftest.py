"""The application behind a real socket, for tests of those who talk to it from outside."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn


@pytest.fixture(scope="session")
def live_url(services: object) -> Iterator[str]:
    """Where the application listens. There is no worker: jobs stay queued."""
    from app.main import create_app

    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(), log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
