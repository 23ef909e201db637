"""What can be asked about the crowd of a finished job: made when the report was, so that no request counts labels."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.orm import Session

from app.database import report_crowd_queries
from app.database.report_crowd_queries import PairRows
from app.dependencies import PageOf
from app.errors import NotFound
from app.reports import service
from app.reports.crowd_schemas import AnnotatorPairRow, CrowdAgreement, PairQuery
from app.reports.service import FinishedJob, number_in_id
from realm_core.intervals import wilson

ANNOTATORS_IN_MATRIX = 200


def get_agreement(session: Session, finished: FinishedJob) -> CrowdAgreement:
    """The report's overview, and what is about everybody, with names for the numbers of tasks and answers."""
    figures = report_crowd_queries.load_figures(session, finished.job.key)
    named = {name: [_named(finished, row) for row in figures[name]] for name in ("answers", "confused_answers")}
    overview = service.get_agreement(session, finished).model_dump()
    return CrowdAgreement.model_validate(overview | figures | named)


def _named(finished: FinishedJob, row: dict[str, Any]) -> dict[str, Any]:
    task = finished.tasks[row["task"]]
    answers = {name: task.answers[row[name]] for name in ("answer", "probable_answer") if name in row}
    return row | answers | {"task": task.name}


def list_pairs(session: Session, finished: FinishedJob, query: PairQuery) -> PageOf[AnnotatorPairRow]:
    """A page of pairs. Raises NotFound for an unknown annotator's or pair's id."""
    rows = report_crowd_queries.list_pairs(
        session,
        finished.job.key,
        annotator=None if query.annotator is None else number_in_id(query.annotator, "ann_", "annotator"),
        suspicious=query.suspicious,
        after=None if query.after is None else _pair_in_id(query.after),
        limit=query.limit,
    )
    if rows is None:
        raise NotFound(f"There is no pair {query.after!r} in this list.", param="after")
    return PageOf[AnnotatorPairRow].of(_pair_rows(rows, pseudonyms=query.pseudonyms), query.limit)


def _pair_in_id(public_id: str) -> tuple[int, int]:
    match = re.fullmatch(r"pair_([0-9]{1,9})_([0-9]{1,9})", public_id, re.ASCII)
    if match is None:
        raise NotFound(f"There is no pair {public_id!r} in this report.", param="after")
    return int(match[1]), int(match[2])


def _pair_rows(rows: PairRows, *, pseudonyms: bool) -> list[AnnotatorPairRow]:
    return [_pair_row(*row, pseudonyms=pseudonyms) for row in rows]


def _pair_row(pair: Any, first: str, second: str, *, pseudonyms: bool) -> AnnotatorPairRow:
    low, high = wilson(pair.equal / pair.shared, pair.shared)
    first_id, second_id = f"ann_{pair.first}", f"ann_{pair.second}"
    return AnnotatorPairRow(
        id=f"pair_{pair.first}_{pair.second}",
        first_id=first_id,
        first=first_id if pseudonyms else first,
        second_id=second_id,
        second=second_id if pseudonyms else second,
        shared=pair.shared,
        agreement=pair.equal / pair.shared,
        agreement_low=low or 0.0,
        agreement_high=1.0 if high is None else high,
        same_mistakes=pair.same_mistakes,
        expected_mistakes=pair.expected_mistakes,
        suspicious=pair.suspicious,
    )


def agreement_matrix(session: Session, finished: FinishedJob, *, pseudonyms: bool = False) -> dict[str, Any]:
    """Names of the busiest annotators, and [row, column, agreement, shared items] of the pairs among them."""
    people = report_crowd_queries.busiest(session, finished.job.key, ANNOTATORS_IN_MATRIX)
    position = {key: number for number, (key, _) in enumerate(people)}
    pairs = report_crowd_queries.pairs_among(session, finished.job.key, list(position))
    return {
        "names": [f"ann_{key}" if pseudonyms else name for key, name in people],
        "pairs": [
            [position[pair.first], position[pair.second], round(pair.equal / pair.shared, 4), pair.shared]
            for pair in pairs
        ],
    }
