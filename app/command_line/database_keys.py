"""API keys straight from the database, for when no service is up that could be asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.orm import Session

from app.access import service
from app.access.schemas import ApiKeyAnswer, ApiKeyRequest, NewApiKeyAnswer
from app.access.service import Principal, Role
from app.child_process import ProcessRecord
from app.client import Json
from app.data_folder import DataFolder, write_private
from app.database import change_queries
from app.database.migrations import migrate
from app.database.session import transaction
from app.embedded import EmbeddedPostgres
from app.settings import get_settings

_PAGE = 1000


@contextmanager
def database_of(data_dir: Path) -> Iterator[None]:
    """The database that REALM_DATABASE_URL names, else the data folder's own, started for the moment."""
    if get_settings().database_url is not None:
        yield
        return
    folder = DataFolder(data_dir).open()
    record = ProcessRecord(folder.path / "processes.json")
    record.end_leftovers()
    postgres = EmbeddedPostgres(folder, record)
    try:
        postgres.start()
        migrate(postgres.url)
        os.environ["REALM_DATABASE_URL"] = postgres.url
        get_settings.cache_clear()
        _make_first_key(folder)
        yield
    finally:
        postgres.stop()
        folder.close()


def _make_first_key(folder: DataFolder) -> None:
    """What `realm up` does at its first start: a data folder has a key by which the command line finds in."""
    with transaction() as session:
        secret = service.create_first_key(session)
        if secret is not None:
            write_private(folder.api_key, secret + "\n")


class DatabaseKeys:
    """The keys of the default project. Whoever can open the database may do everything with them."""

    def __init__(self) -> None:
        with transaction() as session:
            self._owner = Principal(service.default_project_id(session), "admin", key_id="")

    def create(
        self, *, name: str, role: Role, scopes: Sequence[str] | None = None, expires_in_days: float | None = None
    ) -> Json:
        wanted = ApiKeyRequest(
            name=name, role=role, scopes=None if scopes is None else frozenset(scopes), expires_in_days=expires_in_days
        )
        with transaction() as session:
            key, secret = service.create_key(session, self._owner.project_id, **dict(wanted))
            self._tell(session, "create_api_key", key.id)
            return NewApiKeyAnswer.of(key, secret).model_dump()

    def list(self, *, annotator: str | None = None) -> Iterator[Json]:
        after: str | None = None
        while True:
            with transaction() as session:
                page = service.list_keys(
                    session, self._owner, annotator_id=annotator, after=after, limit=_PAGE, descending=True
                )
            yield from (ApiKeyAnswer.of(key).model_dump() for key in page[:_PAGE])
            if len(page) <= _PAGE:
                return
            after = page[_PAGE - 1].id

    def revoke(self, key: str) -> None:
        with transaction() as session:
            service.revoke_key(session, self._owner, key)
            self._tell(session, "revoke_api_key", key)

    def _tell(self, session: Session, action: str, key_id: str) -> None:
        """Let the audit trail have it, though nobody showed a key."""
        change_queries.add_audit_event(
            session,
            project_id=self._owner.project_id,
            key_id=self._owner.key_id,
            key_name="(access to the database)",
            action=action,
            target=key_id,
            request_id="",
        )
