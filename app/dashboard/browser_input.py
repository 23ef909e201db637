"""What browsers send: the queries of pages, and forms. A field that was left empty is as if it had not been sent."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_the_empty(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value != ""} if isinstance(given, dict) else given


class PageQuery(_Sent):
    """The query of a page."""


class ListQuery(PageQuery):
    """The query of a page with a list, which goes on after the row with the id `after`."""

    after: str | None = None


class PageForm(_Sent):
    """A form. Its token was looked at before its route was called."""

    csrf_token: str = ""
