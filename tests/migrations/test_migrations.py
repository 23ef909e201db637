"""The migrations lead to the tables that the program expects, and back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from app.child_process import ProcessRecord
from app.data_folder import DataFolder
from app.database.base import Base
from app.database.migrations import alembic_config, migrate
from app.embedded import EmbeddedPostgres
from tests.conftest import Services


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres that nobody has migrated."""
    folder = DataFolder(tmp_path_factory.mktemp("migrations")).open()
    postgres = EmbeddedPostgres(folder, ProcessRecord(folder.path / "processes.json"))
    try:
        postgres.start()
        yield postgres.url
    finally:
        postgres.stop()
        folder.close()


def tables_of(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_a_migrated_database_is_what_the_program_expects(services: Services) -> None:
    command.check(alembic_config(services.database_url))  # raises when a table or column differs


def test_up_and_down_and_up_again(empty_database: str) -> None:
    migrate(empty_database)
    assert tables_of(empty_database) >= set(Base.metadata.tables)
    command.downgrade(alembic_config(empty_database), "base")
    assert tables_of(empty_database) == {"alembic_version"}
    migrate(empty_database)
    migrate(empty_database)


def test_several_processes_may_migrate_at_once(empty_database: str, tmp_path: Path) -> None:
    command.downgrade(alembic_config(empty_database), "base")
    environment = os.environ | {"REALM_DATABASE_URL": empty_database}

    def run(_: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "app.cli", "migrate"]  # from a folder without a checkout in it
        return subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    with ThreadPoolExecutor() as threads:
        for done in threads.map(run, range(2)):
            assert done.returncode == 0, done.stderr
    assert tables_of(empty_database) >= set(Base.metadata.tables)


def test_partitions_are_where_uploads_expect_them(services: Services) -> None:
    engine = create_engine(services.database_url)
    with engine.connect() as connection:
        kinds = connection.execute(
            text("SELECT relname, relkind FROM pg_class WHERE relname IN ('items','annotations')")
        )
        assert {(name, kind) for name, kind in kinds} == {("items", "p"), ("annotations", "p")}
    engine.dispose()


def test_there_is_one_history_and_no_migration_waits_for_locks(services: Services) -> None:
    scripts = ScriptDirectory.from_config(alembic_config(services.database_url))
    assert len(scripts.get_heads()) == 1
    sources = [Path(script.path).read_text() for script in scripts.walk_revisions()]
    assert sources
    assert all(source.count("SET LOCAL lock_timeout") == 2 for source in sources)
