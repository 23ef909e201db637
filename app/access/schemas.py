"""What the access routes take and answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app.access.service import OF_ANNOTATOR, Role, Scope
from app.database.tables import ApiKey, AuditEvent
from app.dependencies import Page

_ANNOTATOR = "ann_[1-9][0-9]{0,8}"
AnnotatorScope = Annotated[str, StringConstraints(pattern=rf"^{OF_ANNOTATOR}{_ANNOTATOR}$")]


class ApiKeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=200)
    role: Role = "editor"
    scopes: frozenset[Scope | AnnotatorScope] | None = Field(
        None,
        min_length=1,
        description="Parts of the API; null is the whole API. `annotator:ann_…`, alone: with this key, which also logs "
        "into the dashboard, that annotator reads what reports say of their own labels, and nothing else.",
    )
    expires_in_days: float | None = Field(None, gt=0, le=3650)

    @field_validator("scopes")
    @classmethod
    def _an_annotators_key_opens_nothing_else(cls, scopes: frozenset[str] | None) -> frozenset[str] | None:
        if scopes is not None and len(scopes) > 1 and any(scope.startswith(OF_ANNOTATOR) for scope in scopes):
            raise ValueError("annotator:… must be the only scope of its key.")
        return scopes


class ApiKeyPage(Page):
    model_config = ConfigDict(extra="forbid")

    annotator: str | None = Field(
        None, pattern=f"^{_ANNOTATOR}$", description="Only the keys of this annotator's own (ann_…)."
    )


class ApiKeyAnswer(BaseModel):
    """An API key without its secret."""

    object: Literal["api_key"] = "api_key"
    id: str
    name: str
    role: Role
    scopes: list[Scope | AnnotatorScope] | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls.model_validate(
            {
                "id": key.id,
                "name": key.name,
                "role": key.role,
                "scopes": key.scopes,
                "created_at": _unix(key.created_at),
                "expires_at": _unix(key.expires_at),
                "last_used_at": _unix(key.last_used_at),
                "revoked_at": _unix(key.revoked_at),
            }
        )


class NewApiKeyAnswer(BaseModel):
    """A new API key; `key` is its secret, shown this once. When the answer is replayed it is null."""

    object: Literal["api_key"] = "api_key"
    id: str
    name: str
    role: Role
    scopes: list[Scope | AnnotatorScope] | None
    key: str | None

    @classmethod
    def of(cls, key: ApiKey, secret: str) -> Self:
        return cls.model_validate(
            {"id": key.id, "name": key.name, "role": key.role, "scopes": key.scopes, "key": secret}
        )


class AuditEventAnswer(BaseModel):
    """Who did what: `action` is the name of the call, `target` the id of what it made or changed."""

    object: Literal["audit_event"] = "audit_event"
    id: str
    created_at: int
    action: str
    target: str | None
    key_id: str
    key_name: str
    request_id: str

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        return cls(
            id=event.id,
            created_at=int(event.created_at.timestamp()),
            action=event.action,
            target=event.target,
            key_id=event.key_id,
            key_name=event.key_name,
            request_id=event.request_id,
        )


class LoginForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=200)
    next: str = Field("/", max_length=2000)


def _unix(time: datetime | None) -> int | None:
    return None if time is None else int(time.astimezone(UTC).timestamp())
