"""API keys, one-time login links and browser sessions. Secrets are only ever seen as SHA-256 digests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_date
from app.database.tables import ApiKey, BrowserSession, LoginLink, Project

_TOUCH_EVERY = timedelta(minutes=1)


def _alive() -> ColumnElement[bool]:
    return and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))


def any_key_exists(session: Session) -> bool:
    return session.execute(select(ApiKey.id).limit(1)).first() is not None


def add_key(session: Session, **values: Any) -> ApiKey:
    return session.execute(insert(ApiKey).values(**values).returning(ApiKey)).scalar_one()


class KeyInUse(NamedTuple):
    """What a request needs to know of its key: plain values, since entities take as long as the rest of the query."""

    id: str
    project_id: str
    name: str
    role: str
    scopes: list[str] | None
    last_used_at: datetime | None
    project_name: str


_IN_USE = (ApiKey.id, ApiKey.project_id, ApiKey.name, ApiKey.role, ApiKey.scopes, ApiKey.last_used_at, Project.name)
# Built once: every request asks this, and building it takes as long as the answer.
_FIND_LIVE_KEY = (
    select(*_IN_USE)
    .select_from(ApiKey)
    .join(Project, Project.id == ApiKey.project_id)
    .where(ApiKey.digest == bindparam("digest"), _alive())
)


def find_live_key(session: Session, digest: bytes) -> KeyInUse | None:
    """The key that is good."""
    row = session.execute(_FIND_LIVE_KEY, {"digest": digest}).one_or_none()
    return None if row is None else KeyInUse(*row)


def touch_key(session: Session, key: KeyInUse) -> None:
    """Note that a key was used, at most once a minute, so that busy keys do not write on every request."""
    if key.last_used_at is not None and datetime.now(UTC) - key.last_used_at < _TOUCH_EVERY:
        return
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key.id)
        .where(or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _TOUCH_EVERY))
        .values(last_used_at=func.now())
    )


def list_keys(
    session: Session, project_id: str, *, scope: str | None, after: ApiKey | None, limit: int, descending: bool
) -> list[ApiKey]:
    """A page of a project's keys, or of those with a scope, by (created_at, id); one more than `limit` if there are."""
    query = select(ApiKey).where(ApiKey.project_id == project_id)
    if scope is not None:
        query = query.where(ApiKey.scopes.contains([scope]))
    query = page_by_date(query, ApiKey, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def find_key(session: Session, project_id: str, key_id: str) -> ApiKey | None:
    query = select(ApiKey).where(ApiKey.id == key_id, ApiKey.project_id == project_id)
    return session.execute(query).scalar_one_or_none()


def live_keys(session: Session, project_id: str, scope: str) -> list[str]:
    """The ids of the keys with a scope that are good."""
    query = select(ApiKey.id).where(ApiKey.project_id == project_id, ApiKey.scopes.contains([scope]), _alive())
    return list(session.execute(query).scalars())


def revoke_key(session: Session, key_id: str) -> None:
    """End a key, and the browser sessions and links that stand on it."""
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=func.now())
    )
    session.execute(delete(BrowserSession).where(BrowserSession.api_key_id == key_id))
    session.execute(delete(LoginLink).where(LoginLink.api_key_id == key_id))


def add_login_link(session: Session, digest: bytes, key_id: str, lifetime: timedelta) -> None:
    session.execute(insert(LoginLink).values(digest=digest, api_key_id=key_id, expires_at=func.now() + lifetime))


def use_login_link(session: Session, digest: bytes) -> str | None:
    """The key of a link that is still good, which it then no longer is."""
    session.execute(delete(LoginLink).where(LoginLink.expires_at <= func.now()))
    used = delete(LoginLink).where(LoginLink.digest == digest).returning(LoginLink.api_key_id)
    return session.execute(used).scalar_one_or_none()


def add_browser_session(session: Session, digest: bytes, key_id: str, csrf_token: str, lifetime: timedelta) -> None:
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= func.now()))
    session.execute(
        insert(BrowserSession).values(
            digest=digest, api_key_id=key_id, csrf_token=csrf_token, expires_at=func.now() + lifetime
        )
    )


def find_browser_session(session: Session, digest: bytes) -> tuple[KeyInUse, str] | None:
    """The key and the CSRF token of a browser session that is still open."""
    row = session.execute(
        select(*_IN_USE, BrowserSession.csrf_token)
        .select_from(ApiKey)
        .join(Project, Project.id == ApiKey.project_id)
        .join(BrowserSession, BrowserSession.api_key_id == ApiKey.id)
        .where(BrowserSession.digest == digest, BrowserSession.expires_at > func.now(), _alive())
    ).one_or_none()
    return None if row is None else (KeyInUse(*row[:-1]), row[-1])


def delete_browser_session(session: Session, digest: bytes) -> None:
    session.execute(delete(BrowserSession).where(BrowserSession.digest == digest))
