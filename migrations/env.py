"""Runs migrations: each in a transaction of its own, one process at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

import app.database.tables  # noqa: F401, fills the metadata
from app.database.base import Base
from app.settings import get_settings

_MIGRATION_LOCK = 0x5245414C4D  # "REALM"


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Leave the partitions of single datasets out of comparisons; uploads make them."""
    return kind != "table" or name in Base.metadata.tables


def migrate(connection: Connection) -> None:
    connection.execute(text(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        include_name=include_name,
    )
    with context.begin_transaction():
        context.run_migrations()


def url() -> str:
    """The address that the caller names, else that of the settings."""
    address = context.config.get_main_option("sqlalchemy.url") or get_settings().database_url
    if address is None:
        raise SystemExit("REALM_DATABASE_URL is not set.")
    return address


engine = create_engine(url(), poolclass=pool.NullPool)
with engine.connect() as connection:  # closing the connection releases the lock
    migrate(connection)
