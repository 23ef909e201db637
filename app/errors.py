"""Errors that users see: each class carries its HTTP status and a code that scripts can rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ErrorItem:
    """One fault of a request or an uploaded row (`row` is 1-based, the header of a CSV being row 1)."""

    code: str
    detail: str
    row: int | None = None
    column: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"row": self.row, "column": self.column, "code": self.code, "detail": self.detail}


class RealmError(Exception):
    """Base of all errors that are the answer to a request."""

    status = 500
    code = "internal_error"
    title = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        param: str | None = None,
        errors: tuple[ErrorItem, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.param = param
        self.errors = errors
        self.headers = headers or {}


class BadRequest(RealmError):
    status, code, title = 400, "bad_request", "Bad request"


class Unauthorized(RealmError):
    status, code, title = 401, "unauthorized", "Unauthorized"


class Forbidden(RealmError):
    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(RealmError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(RealmError):
    status, code, title = 409, "conflict", "Conflict"


class PreconditionFailed(RealmError):
    status, code, title = 412, "precondition_failed", "Precondition failed"


class PayloadTooLarge(RealmError):
    status, code, title = 413, "payload_too_large", "Payload too large"


class UnsupportedMediaType(RealmError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class Unprocessable(RealmError):
    status, code, title = 422, "unprocessable", "Unprocessable content"


class TooManyRequests(RealmError):
    status, code, title = 429, "too_many_requests", "Too many requests"


class Unavailable(RealmError):
    status, code, title = 503, "unavailable", "Service unavailable"


class DeadlineExceeded(RealmError):
    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"
