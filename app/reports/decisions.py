"""What a manager decides of an annotator, kept with the evidence of that moment: people decide, not figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.access.service import Principal
from app.database import decision_queries
from app.database.base import new_id
from app.database.tables import Decision
from app.dependencies import Page, PageOf
from app.errors import NotFound
from app.reports import service
from app.reports.service import FinishedJob, number_in_id

Action = Literal["keep", "retrain", "pause", "drop"]


class DecisionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: Action
    note: str = Field("", max_length=4000, pattern=r"^[^\x00]*$", description="Why, in your words.")


class DecisionAnswer(BaseModel):
    """A decision: who took it, by the name of the key as it was then, and the report's figures at that moment."""

    object: Literal["decision"] = "decision"
    id: str
    action: Action
    note: str
    key_id: str
    key_name: str
    evidence: dict[str, Any]
    created_at: int

    @classmethod
    def of(cls, decision: Decision) -> Self:
        fields = {name: getattr(decision, name) for name in cls.model_fields if name not in ("object", "created_at")}
        return cls.model_validate(fields | {"created_at": int(decision.created_at.timestamp())})


def decide(
    session: Session, principal: Principal, finished: FinishedJob, annotator_id: str, request: DecisionRequest
) -> DecisionAnswer:
    """Keep a decision. Raises NotFound for an annotator who is not in the report."""
    evidence = service.get_annotator(session, finished, annotator_id)
    decision = decision_queries.add_decision(
        session,
        id=new_id("dec_"),
        job_key=finished.job.key,
        annotator=number_in_id(evidence.id, "ann_", "annotator"),
        action=request.action,
        note=request.note,
        evidence=evidence.model_dump(mode="json"),
        key_id=principal.key_id,
        key_name=principal.key_name,
    )
    return DecisionAnswer.of(decision)


def latest_actions(session: Session, finished: FinishedJob, annotator_ids: Sequence[str]) -> dict[str, str]:
    """What was last decided of each of these annotators upon this report, by their ids."""
    numbers = [number_in_id(id_, "ann_", "annotator") for id_ in annotator_ids]
    found = decision_queries.latest_actions(session, finished.job.key, numbers)
    return {f"ann_{number}": action for number, action in found.items()}


def list_decisions(session: Session, finished: FinishedJob, annotator_id: str, page: Page) -> PageOf[DecisionAnswer]:
    """What was decided of an annotator upon this report. Raises NotFound."""
    annotator = number_in_id(service.get_annotator(session, finished, annotator_id).id, "ann_", "annotator")
    key = finished.job.key
    mark = None if page.after is None else decision_queries.find_decision(session, key, annotator, page.after)
    if page.after is not None and mark is None:
        raise NotFound(f"There is no decision {page.after!r} in this list.", param="after")
    rows = decision_queries.list_decisions(
        session, key, annotator, after=mark, limit=page.limit, descending=page.descending
    )
    return PageOf[DecisionAnswer].of([DecisionAnswer.of(row) for row in rows], page.limit)
