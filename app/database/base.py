"""Base class of all tables, what many of them have, and the ids that users see."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import DateTime, MetaData, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Timestamp = DateTime(timezone=True)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can address it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def creation_time() -> Mapped[datetime]:
    """The column with the time of the transaction that made a row."""
    return mapped_column(Timestamp, server_default=func.now())


def new_id(prefix: str) -> str:
    """A random public id: the prefix and 96 random bits in hexadecimal."""
    return prefix + secrets.token_hex(12)
