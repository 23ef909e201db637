"""What every route may ask for: the database session of its request, and a page of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from app.database.session import transaction


def get_session(request: Request) -> Iterator[Session]:
    """One transaction per request, also where a request that changes something looks at it first."""
    ongoing: Session | None = getattr(request.state, "session_of_change", None)
    if ongoing is not None:
        yield ongoing
        return
    with transaction() as session:
        yield session


# scope="function" commits before the response starts: nobody is told "saved" of something that then fails to commit.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


class Page(BaseModel):
    """Which part of a list: the `limit` objects that follow the object with id `after`."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = None
    limit: int = Query(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"

    @property
    def descending(self) -> bool:
        return self.order == "desc"


PageDep = Annotated[Page, Query()]


Row = TypeVar("Row", bound=BaseModel)  # with an `id`


class PageOf(BaseModel, Generic[Row]):
    """A page of a list, as OpenAI's API shows it."""

    object: Literal["list"] = "list"
    data: list[Row]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, rows: Sequence[Any], limit: int) -> Self:
        """The page of a query that asked for limit + 1 rows."""
        data = list(rows[:limit])
        return cls(
            data=data,
            has_more=len(rows) > limit,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
        )
