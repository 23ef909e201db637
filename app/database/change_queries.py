"""What is kept of requests that change something: the audit trail, and answers to requests that may come again."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, insert, literal, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.database.base import new_id
from app.database.keyset_pages import page_by_date
from app.database.tables import AuditEvent, StoredAnswer

ANSWERS_ARE_KEPT_FOR = timedelta(hours=24)
_EXPIRED_PER_REQUEST = 100


def add_audit_event(
    session: Session, *, project_id: str, key_id: str, key_name: str, action: str, target: str | None, request_id: str
) -> None:
    """Note who did what, unless this transaction has changed nothing."""
    row = {
        "id": new_id("audit_"),
        "project_id": project_id,
        "key_id": key_id,
        "key_name": key_name,
        "action": action,
        "target": target,
        "request_id": request_id,
    }
    has_written = func.pg_current_xact_id_if_assigned().is_not(None)
    session.execute(
        insert(AuditEvent).from_select(
            list(row), select(*(literal(value) for value in row.values())).where(has_written)
        )
    )


def find_audit_event(session: Session, project_id: str, event_id: str) -> AuditEvent | None:
    query = select(AuditEvent).where(AuditEvent.id == event_id, AuditEvent.project_id == project_id)
    return session.execute(query).scalar_one_or_none()


def list_audit_events(
    session: Session, project_id: str, *, after: AuditEvent | None, limit: int, descending: bool
) -> list[AuditEvent]:
    """A page of a project's audit trail by (created_at, id), one more than `limit` when there are more."""
    query = select(AuditEvent).where(AuditEvent.project_id == project_id)
    query = page_by_date(query, AuditEvent, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def wait_for_turn(session: Session, what: str) -> None:
    """Wait until no other transaction that has its turn changes the thing with this id, and keep it until the end."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 1))))


def claim_idempotency_key(session: Session, api_key_id: str, idempotency_key: str) -> bool:
    """Keep others from using an Idempotency-Key until this transaction ends; False when somebody else does that."""
    name = func.hashtextextended(f"{api_key_id} {idempotency_key}", 0)
    return bool(session.execute(select(func.pg_try_advisory_xact_lock(name))).scalar_one())


def find_answer(session: Session, api_key_id: str, idempotency_key: str) -> StoredAnswer | None:
    query = select(StoredAnswer).where(
        StoredAnswer.api_key_id == api_key_id,
        StoredAnswer.idempotency_key == idempotency_key,
        StoredAnswer.created_at > func.now() - ANSWERS_ARE_KEPT_FOR,
    )
    return session.execute(query).scalar_one_or_none()


def keep_answer(
    session: Session,
    *,
    api_key_id: str,
    idempotency_key: str,
    request: str,
    body_sha256: bytes,
    status: int,
    answer: bytes,
) -> None:
    """Keep an answer, and let go of some whose time is over."""
    over = select(StoredAnswer).where(StoredAnswer.created_at <= func.now() - ANSWERS_ARE_KEPT_FOR)
    some = over.limit(_EXPIRED_PER_REQUEST).with_for_update(skip_locked=True)
    for expired in session.execute(some).scalars():
        session.delete(expired)
    session.flush()
    values = {"request": request, "body_sha256": body_sha256, "status": status, "answer": answer}
    new = postgresql.insert(StoredAnswer).values(api_key_id=api_key_id, idempotency_key=idempotency_key, **values)
    session.execute(
        new.on_conflict_do_update(
            index_elements=["api_key_id", "idempotency_key"], set_={**values, "created_at": func.now()}
        )
    )
