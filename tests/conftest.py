"""Real servers for the tests: one Postgres and one Redis per run. Tests keep apart by having a project each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import psutil
import pytest
from fastapi.testclient import TestClient

from app.access.rate_limits import get_counters
from app.access.service import Role, create_key, default_project_id
from app.artifacts import get_artifacts
from app.child_process import ProcessRecord
from app.data_folder import DataFolder
from app.database import project_queries
from app.database.base import new_id
from app.database.migrations import migrate
from app.database.session import get_engine, transaction
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.queue import get_celery, get_redis
from app.running_service import running_service
from app.settings import get_settings

# The same examples in every run, and no deadline: the first example of a test may import half of torch.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=100_000)  # make fuzz
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(scope="session", autouse=True)
def _settings_of_nobody() -> Iterator[None]:
    """Settings of the person who runs the tests must not leak in."""
    with no_settings():
        forget_settings()
        yield


@contextmanager
def no_settings() -> Iterator[None]:
    """As if no REALM_* variable were set: a `realm up` that is started here brings servers of its own."""
    ours = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("REALM_")}
    try:
        yield
    finally:
        os.environ.update(ours)


def forget_settings() -> None:
    """Let the next caller read the settings, and connect, anew."""
    if get_engine.cache_info().currsize:
        get_engine().dispose()
    for cached in (get_settings, get_engine, get_celery, get_redis, get_artifacts, get_counters):
        cached.cache_clear()


@dataclass(frozen=True)
class Services:
    """Where the servers of this run of tests are."""

    data_dir: Path
    database_url: str
    redis_url: str


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Postgres, migrated, and Redis, with the settings pointing at them."""
    folder = DataFolder(tmp_path_factory.mktemp("data")).open()
    record = ProcessRecord(folder.path / "processes.json")
    postgres, broker = EmbeddedPostgres(folder, record), EmbeddedRedis(folder, record)
    try:
        postgres.start()
        broker.start()
        migrate(postgres.url)
        os.environ["REALM_DATA_DIR"] = str(folder.path)
        os.environ["REALM_DATABASE_URL"] = postgres.url
        os.environ["REALM_REDIS_URL"] = broker.url
        forget_settings()
        yield Services(folder.path, postgres.url, broker.url)
    finally:
        forget_settings()
        broker.stop()
        postgres.stop()
        folder.close()


@dataclass(frozen=True)
class ProjectKeys:
    """A project and the secrets of a key for each role."""

    id: str
    name: str
    admin_key: str
    editor_key: str
    viewer_key: str


def make_project() -> ProjectKeys:
    """A new project with its keys."""
    id_, name = new_id("proj_"), f"test-{secrets.token_hex(4)}"

    def key(role: Role) -> str:
        return create_key(session, id_, name=role, role=role)[1]

    with transaction() as session:
        project_queries.add_project(session, id_, name)
        return ProjectKeys(id_, name, key("admin"), key("editor"), key("viewer"))


@pytest.fixture
def project(services: Services) -> ProjectKeys:
    """A fresh project; what other tests made is invisible to its keys."""
    return make_project()


@pytest.fixture
def other_project(services: Services) -> ProjectKeys:
    """Somebody else's project."""
    return make_project()


@pytest.fixture
def service_admin_key(services: Services) -> str:
    """The secret of an admin key of the default project, by which projects are made and deleted."""
    with transaction() as session:
        return create_key(session, default_project_id(session), name="service admin", role="admin")[1]


@pytest.fixture
def client(project: ProjectKeys) -> Iterator[TestClient]:
    """The application in this process, called with the project's admin key."""
    from app.main import create_app

    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(create_app(), base_url="http://localhost", headers=headers) as client:
        yield client


@dataclass(frozen=True)
class WholeService:
    """A `realm up` of its own, as users run it."""

    base_url: str
    api_key: str
    login_link: str | None
    data_dir: Path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeService]:
    """The whole service in processes of its own, for end-to-end tests; afterwards none of them may be left."""
    data_dir = tmp_path_factory.mktemp("service") / "data"
    with ExitStack() as cleanup:
        with no_settings():
            running = cleanup.enter_context(running_service(data_dir))
        yield WholeService(running.url, running.api_key, running.login_link, data_dir)
    assert processes_of(data_dir) == []


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """The processes that run for a data folder: its name stands in their environment, command line or folder."""

    def belongs(process: psutil.Process) -> bool:
        try:
            where = (process.cwd(), *process.cmdline(), process.environ().get("REALM_DATA_DIR", ""))
            return process.status() != psutil.STATUS_ZOMBIE and any(str(data_dir) in text for text in where)
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if process.pid != os.getpid() and belongs(process)]
