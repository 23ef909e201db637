"""Tenants, their keys, and who is logged in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Timestamp, creation_time


class Project(Base):
    """A tenant. Every row that belongs to somebody carries its project."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # proj_…
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = creation_time()


class ApiKey(Base):
    """A key, of which only the SHA-256 digest is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # key_…
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    role: Mapped[str] = mapped_column(Text)  # viewer, editor, admin
    scopes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # parts of the API that it opens; null: all
    created_at: Mapped[datetime] = creation_time()
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LoginLink(Base):
    """A link that opens one browser session, once."""

    __tablename__ = "login_links"
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class BrowserSession(Base):
    """A logged-in browser; it may do what its key may."""

    __tablename__ = "browser_sessions"
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    csrf_token: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = creation_time()
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
