"""Who may call: API keys, one-time login links and the browser sessions that they open.

Every secret is 256 random bits, so its SHA-256 digest is safe at rest: there is nothing to guess that a slow hash
would protect.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy.orm import Session

from app.database import access_queries, change_queries, project_queries
from app.database.access_queries import KeyInUse
from app.database.base import new_id
from app.database.tables import ApiKey, AuditEvent
from app.errors import Forbidden, NotFound

Role = Literal["viewer", "editor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what the ones before it may
Scope = Literal["datasets", "jobs", "models", "predict", "metrics"]  # parts of the API, see `authentication.SCOPES`
OF_ANNOTATOR = "annotator:"  # + ann_…: the scope of a key with which somebody reads of themselves alone
KEY_PREFIX = "realm_"
DEFAULT_PROJECT = "default"
LOGIN_LINK_LIFETIME = timedelta(hours=1)
SESSION_LIFETIME = timedelta(hours=12)


@dataclass(frozen=True)
class Principal:
    """Who is calling. `csrf_token` is set for a browser session, which must show it to change anything."""

    project_id: str
    role: Role
    key_id: str
    key_name: str = ""
    scopes: frozenset[str] | None = None  # None: the whole API
    runs_service: bool = False  # a key of the default project, whose admins make the other projects
    csrf_token: str | None = None

    def require(self, role: Role) -> None:
        """Raises Forbidden unless this caller has at least `role`."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"This needs a key with the role {role}; yours has {self.role}.", code="role_required")

    @property
    def own_annotator(self) -> str | None:
        """The annotator (ann_…) of whom alone this caller may read; None when the key is no annotator's."""
        own = (scope for scope in self.scopes or () if scope.startswith(OF_ANNOTATOR))
        return next((scope.removeprefix(OF_ANNOTATOR) for scope in own), None)

    def require_scope(self, scope: Scope | None) -> None:
        """Raises Forbidden unless this caller's key opens that part of the API; None is what only a whole key opens."""
        if self.scopes is None or scope in self.scopes:
            return
        only = ", ".join(sorted(self.scopes))
        raise Forbidden(f"Your key is for {only} only.", code="scope_required")

    def require_service_admin(self) -> None:
        """Raises Forbidden unless this is an admin of the default project."""
        if not self.runs_service:
            raise Forbidden(
                f"This needs a key of the project {DEFAULT_PROJECT!r} with the role admin.",
                code="service_admin_required",
            )
        self.require("admin")


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def create_key(
    session: Session,
    project_id: str,
    *,
    name: str,
    role: Role,
    scopes: Collection[str] | None = None,
    expires_in_days: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown this once and not kept."""
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key = access_queries.add_key(
        session,
        id=new_id("key_"),
        project_id=project_id,
        name=name,
        digest=digest_of(secret),
        role=role,
        scopes=None if scopes is None else sorted(scopes),
        expires_at=None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days),
    )
    return key, secret


def create_annotators_key(
    session: Session, project_id: str, annotator_id: str, *, expires_in_days: float | None
) -> tuple[ApiKey, str]:
    """A key with which an annotator (ann_…) reads of themselves alone. Its name tells of nobody who is erased later."""
    return create_key(
        session,
        project_id,
        name=annotator_id,
        role="viewer",
        scopes=[OF_ANNOTATOR + annotator_id],
        expires_in_days=expires_in_days,
    )


def create_first_key(session: Session) -> str | None:
    """The secret of an admin key of the default project, made when there is no key at all; else None."""
    if access_queries.any_key_exists(session):
        return None
    _, secret = create_key(session, default_project_id(session), name="first key", role="admin")
    return secret


def default_project_id(session: Session) -> str:
    """The project that `realm up` and the command line work in, made when it is not there yet."""
    project = project_queries.find_project_by_name(session, DEFAULT_PROJECT)
    if project is not None:
        return project.id
    return project_queries.add_project(session, new_id("proj_"), DEFAULT_PROJECT).id


def get_key(session: Session, principal: Principal, key_id: str) -> ApiKey:
    """A key of the caller's project. Raises NotFound."""
    key = access_queries.find_key(session, principal.project_id, key_id)
    if key is None:
        raise NotFound(f"There is no API key {key_id!r}.", param="key_id")
    return key


def list_keys(
    session: Session,
    principal: Principal,
    *,
    annotator_id: str | None = None,
    after: str | None,
    limit: int,
    descending: bool,
) -> list[ApiKey]:
    """A page of the project's keys, or of an annotator's own, one more than `limit` when there are more."""
    mark = get_key(session, principal, after) if after is not None else None
    scope = None if annotator_id is None else OF_ANNOTATOR + annotator_id
    return access_queries.list_keys(
        session, principal.project_id, scope=scope, after=mark, limit=limit, descending=descending
    )


def revoke_key(session: Session, principal: Principal, key_id: str, *, annotator_id: str | None = None) -> None:
    """End a key of the caller's project for good; with `annotator_id` only if it is that one's own. Raises NotFound."""
    key = get_key(session, principal, key_id)
    if annotator_id is not None and key.scopes != [OF_ANNOTATOR + annotator_id]:
        raise NotFound(f"{annotator_id} has no API key {key_id!r} of their own.", param="key_id")
    access_queries.revoke_key(session, key.id)


def revoke_annotators_keys(session: Session, project_id: str, annotator_id: str) -> None:
    """End all keys of an annotator's own."""
    for key_id in access_queries.live_keys(session, project_id, OF_ANNOTATOR + annotator_id):
        access_queries.revoke_key(session, key_id)


def list_audit_events(
    session: Session, principal: Principal, *, after: str | None, limit: int, descending: bool
) -> list[AuditEvent]:
    """A page of what was done in the project, one more than `limit` when there are more. Raises NotFound."""
    mark = None if after is None else change_queries.find_audit_event(session, principal.project_id, after)
    if after is not None and mark is None:
        raise NotFound(f"There is no audit event {after!r}.", param="after")
    return change_queries.list_audit_events(
        session, principal.project_id, after=mark, limit=limit, descending=descending
    )


def principal_of_key(session: Session, secret: str) -> Principal | None:
    """The caller who holds an API key, or None when the key is unknown, revoked or expired."""
    found = access_queries.find_live_key(session, digest_of(secret))
    return None if found is None else _used(session, found)


def principal_of_session(session: Session, token: str) -> Principal | None:
    """The caller whose browser holds a session cookie, or None when it is unknown or over."""
    found = access_queries.find_browser_session(session, digest_of(token))
    return None if found is None else _used(session, *found)


def _used(session: Session, key: KeyInUse, csrf_token: str | None = None) -> Principal:
    access_queries.touch_key(session, key)
    return Principal(
        project_id=key.project_id,
        role=next(role for role in ROLES if role == key.role),
        key_id=key.id,
        key_name=key.name,
        scopes=None if key.scopes is None else frozenset(key.scopes),
        runs_service=key.project_name == DEFAULT_PROJECT,
        csrf_token=csrf_token,
    )


def create_login_link(session: Session, secret: str, base_url: str) -> str | None:
    """A link that logs one browser in, once, as the holder of an API key; None when the key is no longer good."""
    principal = principal_of_key(session, secret)
    if principal is None:
        return None
    token = secrets.token_urlsafe(32)
    access_queries.add_login_link(session, digest_of(token), principal.key_id, LOGIN_LINK_LIFETIME)
    return f"{base_url}/login?token={token}"


def open_session_by_link(session: Session, token: str, request_id: str) -> str | None:
    """The session token that a login link is good for, or None when it was used or is too old."""
    key_id = access_queries.use_login_link(session, digest_of(token))
    key = None if key_id is None else session.get(ApiKey, key_id)
    return None if key is None else _open_session(session, key.project_id, key.id, key.name, request_id)


def open_session_by_key(session: Session, secret: str, request_id: str) -> str | None:
    """The session token for the holder of an API key, or None when the key is not good."""
    holder = principal_of_key(session, secret)
    if holder is None:
        return None
    return _open_session(session, holder.project_id, holder.key_id, holder.key_name, request_id)


def _open_session(session: Session, project_id: str, key_id: str, key_name: str, request_id: str) -> str:
    token = secrets.token_urlsafe(32)
    csrf_token = secrets.token_urlsafe(32)
    access_queries.add_browser_session(session, digest_of(token), key_id, csrf_token, SESSION_LIFETIME)
    change_queries.add_audit_event(
        session,
        project_id=project_id,
        key_id=key_id,
        key_name=key_name,
        action="log_in",
        target=None,
        request_id=request_id,
    )
    return token


def close_session(session: Session, token: str) -> None:
    access_queries.delete_browser_session(session, digest_of(token))
