"""Bring the database to the state that this version of the program expects."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

_SCRIPTS = Path(__file__).parents[2] / "migrations"  # beside `app`, in a checkout as in an installation


def migrate(database_url: str) -> None:
    """Run the migrations that are missing; safe to call from several processes at once."""
    command.upgrade(alembic_config(database_url), "head")


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration, which needs no alembic.ini in the current folder."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    return config
