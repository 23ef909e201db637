"""Engine and sessions. A session is one transaction, committed in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from app.settings import get_settings

# A server that does not answer is given up soon: a worker must go on watching its job, and the API must answer.
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 15_000, "keepalives_idle": 15, "keepalives_interval": 5}


@lru_cache
def get_engine() -> Engine:
    """The engine of this process."""
    url = get_settings().database_url
    if url is None:
        raise RuntimeError("REALM_DATABASE_URL is not set; `realm up` sets it for its own processes")
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=30,
        connect_args=_PATIENCE,
        hide_parameters=True,  # texts of users do not belong in logs
    )


@contextmanager
def transaction() -> Iterator[Session]:
    """A session that commits when the block ends and rolls back when it raises."""
    with Session(get_engine(), expire_on_commit=False) as session, session.begin():
        yield session
