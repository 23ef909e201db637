"""What the pages about the prompts of a finished job show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.access.service import Principal
from app.dashboard.links import linker
from app.dashboard.report_values import about
from app.reports import relabelling
from app.reports import service as reports
from app.reports.export_shapes import SHAPES
from app.reports.relabelling_schemas import Coverage, CoverageQuery
from app.reports.schemas import ItemDetail, ItemQuery, WeightedVote
from app.reports.service import FinishedJob

PROMPTS_PER_PAGE = 25
NOT_IN_ADDRESS = {"limit", "pseudonyms", "item_id"}
TARGETS = (0.9, 0.95, 0.98, 0.99, 0.999)
TARGETS_SHOWN = 3
SURE = 0.999  # a vote of somebody who seems never wrong does not decide alone
PLOT_WIDTH, PLOT_HEIGHT = 600, 220


def prompts_values(
    session: Session, principal: Principal, job_id: str, query: ItemQuery, *, pseudonyms: bool
) -> dict[str, Any]:
    """Everything that the template of the queue reads. Raises NotFound, Conflict, Unprocessable."""
    finished = reports.find_finished_job(session, principal.project_id, job_id)
    coverages = relabelling.get_coverages(session, finished, [CoverageQuery(target=target) for target in TARGETS])
    return about(session, finished, pseudonyms=pseudonyms) | {
        "items": reports.list_items(session, finished, query.model_copy(update={"pseudonyms": pseudonyms})),
        "tasks": finished.tasks,
        "answers": _answers(finished, query.task),
        "coverage": coverages[0],
        "targets": [(one.target, one.relabel) for one in coverages if one.expected_accuracy < one.target][
            :TARGETS_SHOWN
        ],
        "line": _line(coverages[0]),
        "reviewers": relabelling.list_reviewers(session, finished),
        "query": query,
        "link": linker(f"/jobs/{job_id}/prompts", "queue", query.model_dump(exclude=NOT_IN_ADDRESS)),
        "shapes": [(name, shape.formats[0]) for name, shape in SHAPES.items()],
    }


def _answers(finished: FinishedJob, name: str | None) -> Sequence[str]:
    """What the labels of the chosen task, or of the only one, may say; nothing where prompts have their own."""
    chosen = [task for task in finished.tasks if name == task.name or len(finished.tasks) == 1]
    return chosen[0].answers if chosen else ()


def _line(coverage: Coverage) -> dict[str, Any]:
    """The curve as points of a drawing, over the range of accuracy that there is."""
    lowest = min((point.accuracy for point in coverage.curve), default=0.0)
    floor = math.floor(20 * min(lowest, 0.95)) / 20
    points = [
        (round(PLOT_WIDTH * point.coverage, 1), round(PLOT_HEIGHT * (1 - point.accuracy) / (1 - floor), 1))
        for point in coverage.curve
    ]
    return {"points": points, "floor": floor, "width": PLOT_WIDTH, "height": PLOT_HEIGHT}


def prompt_values(
    session: Session, principal: Principal, job_id: str, item_id: str, *, pseudonyms: bool
) -> dict[str, Any]:
    """Everything that the template of one prompt reads. Raises NotFound, Conflict."""
    finished = reports.find_finished_job(session, principal.project_id, job_id)
    item = reports.get_item(session, finished, item_id)
    voted = [vote.id for vote in item.votes]
    return about(session, finished, pseudonyms=pseudonyms) | {
        "item": item,
        "votes": [(vote, times_as_likely(vote, item)) for vote in item.votes],
        "n_votes": {one.answer: sum(vote.label == one.answer for vote in item.votes) for one in item.answers},
        "reviewers": relabelling.list_reviewers(session, finished, but_not=voted),
    }


def times_as_likely(vote: WeightedVote, item: ItemDetail) -> float | None:
    """How many times as likely a vote makes its answer against each other one: a (K − 1) / (1 − a); below 1, less."""
    if vote.accuracy is None:
        return None
    accuracy = min(max(vote.accuracy, 1 - SURE), SURE)
    return accuracy * (len(item.answers) - 1) / (1 - accuracy)
