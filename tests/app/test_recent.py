"""What is remembered of the database is forgotten with every change, and after a second."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text, update

from app.database import recent
from app.database.recent import Recent
from app.database.session import transaction
from app.database.tables import Project
from tests.conftest import ProjectKeys


def name_of(project: ProjectKeys) -> str:
    with transaction() as session:
        return session.execute(select(Project.name).where(Project.id == project.id)).scalar_one()


def test_it_is_asked_once_until_something_changes(project: ProjectKeys) -> None:
    names: Recent[str, str] = Recent()
    assert names.get(project.id) is None
    assert names.look_up(project.id, lambda: name_of(project)) == project.name
    assert name_of(project) == names.get(project.id) == project.name  # reading changes nothing
    with transaction() as session:
        session.execute(update(Project).where(Project.id == project.id).values(name="another"))
        assert names.get(project.id) == project.name  # as others still see it
    assert names.get(project.id) is None
    assert names.look_up(project.id, lambda: name_of(project)) == names.get(project.id) == "another"


def test_an_object_that_is_changed_and_a_plain_statement_are_changes_and_a_rollback_is_none(
    project: ProjectKeys,
) -> None:
    names: Recent[str, str] = Recent()

    def remembered() -> str | None:
        names.look_up(project.id, lambda: name_of(project))
        return names.get(project.id)

    assert remembered() == project.name
    with transaction() as session:
        session.execute(update(Project).where(Project.id == project.id).values(name="never"))
        session.rollback()
    assert names.get(project.id) == project.name
    with transaction() as session:
        session.get_one(Project, project.id).name = "flushed"
    assert names.get(project.id) is None
    assert remembered() == "flushed"
    with transaction() as session, session.begin_nested():
        session.execute(text("UPDATE projects SET name = 'plain' WHERE id = :id"), {"id": project.id})
    assert names.get(project.id) is None


def test_what_was_read_before_a_change_is_not_remembered_after_it(project: ProjectKeys) -> None:
    names: Recent[str, str] = Recent()

    def read_while_it_changes() -> str:
        before = name_of(project)
        with transaction() as session:
            session.execute(update(Project).where(Project.id == project.id).values(name="meanwhile"))
        return before

    assert names.look_up(project.id, read_while_it_changes) == project.name
    assert names.get(project.id) is None


def test_it_is_remembered_for_a_second_and_nothing_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: Recent[str, int] = Recent()
    now = 100.0
    monkeypatch.setattr(recent.time, "monotonic", lambda: now)
    assert numbers.look_up("none", lambda: None) is None
    assert numbers.look_up("one", lambda: 1) == 1
    now += recent.SECONDS
    assert numbers.get("one") == 1
    now += 0.01
    assert numbers.get("one") is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST", 3)
    numbers: Recent[int, int] = Recent()
    for n in range(10):
        numbers.look_up(n, lambda n=n: n + 1)  # type: ignore[misc]
        assert numbers.get(n) == n + 1
    assert len(numbers._found) <= 3
