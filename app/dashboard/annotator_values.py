"""What the page of one annotator shows."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from app.access import service as access
from app.access.schemas import ApiKeyAnswer
from app.access.service import Principal
from app.dashboard.links import linker
from app.dashboard.permissions import may
from app.dashboard.report_values import about
from app.dependencies import Page, PageOf
from app.reports import decisions, judgements
from app.reports import service as reports
from app.reports.judgement_schemas import JudgedLabelQuery
from app.reports.schemas import Confusion
from app.reports.service import FinishedJob

LABELS_SHOWN = 20
KEYS_SHOWN = 20
DECISIONS_SHOWN = Page(after=None, limit=20, order="desc")


def annotator_values(
    session: Session,
    principal: Principal,
    job_id: str,
    annotator_id: str,
    query: JudgedLabelQuery,
    *,
    pseudonyms: bool,
) -> dict[str, Any]:
    """Everything that the template reads. Raises NotFound, Conflict, Unprocessable."""
    finished = reports.find_finished_job(session, principal.project_id, job_id)
    annotator = reports.get_annotator(session, finished, annotator_id, pseudonyms=pseudonyms)
    behaviour = judgements.get_behaviour(session, finished, annotator_id)
    return about(session, finished, pseudonyms=pseudonyms) | {
        "decided": decisions.list_decisions(session, finished, annotator_id, DECISIONS_SHOWN),
        "annotator": annotator,
        "chance": finished.chance(None),
        "cross_fitted": annotator.accuracy.method == "cross_fitted",
        "confusion": [(one, _shares(one)) for one in annotator.confusion],
        "label_shares": behaviour.label_shares,
        "periods": behaviour.periods,
        "plotted_periods": [period.model_dump() for period in behaviour.periods],
        "labels": None
        if finished.dataset_key is None
        else judgements.list_judged_labels(session, finished, annotator_id, query),
        "query": query,
        "keys": _keys(session, principal, annotator_id) if may(principal, "admin") else None,
        "now": int(time.time()),
        "link": linker(f"/jobs/{job_id}/annotators/{annotator_id}", "labels"),
    }


def _shares(confusion: Confusion) -> list[list[float | None]]:
    """The counts as shares of their rows; None in rows that hold less than half a label."""
    return [[count / sum(row) if sum(row) >= 0.5 else None for count in row] for row in confusion.counts]


def _keys(session: Session, principal: Principal, annotator_id: str) -> PageOf[ApiKeyAnswer]:
    """The newest of the annotator's own keys, revoked ones too."""
    keys = access.list_keys(
        session, principal, annotator_id=annotator_id, after=None, limit=KEYS_SHOWN, descending=True
    )
    return PageOf[ApiKeyAnswer].of([ApiKeyAnswer.of(key) for key in keys], KEYS_SHOWN)


def new_key_values(
    session: Session, principal: Principal, finished: FinishedJob, annotator_id: str, days: float | None
) -> dict[str, Any]:
    """Make the annotator a key of their own, and what the page says that shows it once. Raises NotFound, Forbidden."""
    principal.require("admin")
    annotator = reports.get_annotator(session, finished, annotator_id)
    key, secret = access.create_annotators_key(session, principal.project_id, annotator.id, expires_in_days=days)
    return {"key": ApiKeyAnswer.of(key), "secret": secret, "annotator": annotator}
