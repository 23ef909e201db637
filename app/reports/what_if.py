"""The report without chosen annotators, from what is stored: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from threading import BoundedSemaphore

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.database import annotation_queries, comparison_queries, report_crowd_queries
from app.database.annotation_queries import LoadedAnnotations
from app.errors import Conflict, NotFound, TooManyRequests
from app.reports import service
from app.reports.comparison_schemas import ChangedLabel, MovedAccuracy, WhatIf, WhatIfFigures
from app.reports.service import FinishedJob, number_in_id
from realm_core import what_if
from realm_core.annotations import Annotations, FloatArray
from realm_core.known_gold import use_gold
from realm_core.truth_candidates import Candidate
from realm_core.what_if import Outlook

MAX_LABELS = 3_000_000
ROWS_SHOWN = 20
_AT_A_TIME = BoundedSemaphore(1)  # each takes a core for seconds


def what_if_without(session: Session, finished: FinishedJob, without: Sequence[str], *, pseudonyms: bool) -> WhatIf:
    """The overview with and without the labels of some annotators.

    Raises NotFound for who is not in the report, Conflict when the dataset is gone or too large, TooManyRequests
    while another one is being worked out.
    """
    source = finished.source
    numbers = sorted({number_in_id(one, "ann_", "annotator") for one in without})
    if (finished.job.summary or {})["n_labels"] > MAX_LABELS:
        raise Conflict(f"This works up to {MAX_LABELS:,} labels; start a job without them.", code="too_many_labels")
    if not _AT_A_TIME.acquire(blocking=False):
        raise TooManyRequests("Another one is being worked out; try again in some seconds.", code="busy")
    try:
        loaded = annotation_queries.load_annotations(session, source.dataset_key, source.version)
        left_out = _labels_of(loaded, numbers)
        return _compare(session, finished, loaded, left_out, numbers, pseudonyms=pseudonyms)
    finally:
        _AT_A_TIME.release()


def _labels_of(loaded: LoadedAnnotations, numbers: Sequence[int]) -> NDArray[np.bool_]:
    """The labels of these annotators, as a mask. Raises NotFound, Conflict when nothing would be left."""
    unknown = set(numbers) - set(loaded.annotator_ids.tolist())
    if unknown:
        raise NotFound(f"There is no annotator ann_{min(unknown)} in this report.", param="without")
    chosen = np.isin(loaded.annotator_ids, numbers)[loaded.annotations.annotator]
    if chosen.all():
        raise Conflict("No label would be left.", code="nothing_left")
    return np.asarray(chosen)


def _compare(
    session: Session,
    finished: FinishedJob,
    loaded: LoadedAnnotations,
    left_out: NDArray[np.bool_],
    numbers: Sequence[int],
    *,
    pseudonyms: bool,
) -> WhatIf:
    annotations = loaded.annotations
    if finished.job.method["hyperparameters"].get("use_gold"):
        annotations = use_gold(annotations, finished.job.seed)
    candidate, log_p = _method(session, finished, annotations)
    rest = annotations.select_labels(~left_out)
    before, after = (what_if.outlook(one, candidate, log_p) for one in (annotations, rest))
    changed = what_if.changed_labels(before.truth.posterior, after.truth.posterior)
    return WhatIf(
        job_id=finished.job.id,
        without=[f"ann_{number}" for number in numbers],
        before=_figures(before),
        after=_figures(after),
        n_changed=len(changed),
        changed=_changed(session, finished, before, after, changed[:ROWS_SHOWN].tolist()),
        annotators=_moved(session, finished, loaded, rest, before, after, pseudonyms=pseudonyms),
    )


def _method(session: Session, finished: FinishedJob, annotations: Annotations) -> tuple[Candidate, FloatArray | None]:
    """The truth inference that the report chose, and the model's log p(y | x)."""
    figures = report_crowd_queries.load_figures(session, finished.job.key)
    n_answers = int(annotations.answer_counts.max(initial=1))
    model = comparison_queries.load_model_posterior(session, finished.job.key, annotations.n_items, n_answers)
    log_p = None if model is None else np.log(np.maximum(model, 1e-12))
    candidate = Candidate(
        (finished.job.summary or {})["channel"],
        figures["answer_shares"],
        model_weight=figures["candidate_model_weight"],
        power=figures["candidate_power"],
    )
    return candidate, log_p


def _figures(one: Outlook) -> WhatIfFigures:
    return WhatIfFigures(
        n_labels=one.n_labels,
        n_items_without_label=one.n_items_without_label,
        expected_accuracy=one.expected_accuracy,
        gold_accuracy=one.gold_accuracy,
        agreement=one.agreement,
        krippendorff_alpha=one.alpha,
    )


def _changed(
    session: Session, finished: FinishedJob, before: Outlook, after: Outlook, items: list[int]
) -> list[ChangedLabel]:
    rows = comparison_queries.items_by_number(session, finished.source.dataset_key, items)
    found = []
    for number in items:
        item, old, new = rows[number], before.truth.posterior[number], after.truth.posterior[number]
        found.append(
            ChangedLabel(
                **finished.labelled(item, int(old.argmax()), float(old.max())),
                other_label=finished.answers_of_item(item)[new.argmax()],
                other_probability=float(new.max()),
            )
        )
    return found


def _moved(
    session: Session,
    finished: FinishedJob,
    loaded: LoadedAnnotations,
    rest: Annotations,
    before: Outlook,
    after: Outlook,
    *,
    pseudonyms: bool,
) -> list[MovedAccuracy]:
    """Those who are left and whose accuracy moves the most."""
    old = what_if.accuracy_per_annotator(loaded.annotations, before.truth)
    new = what_if.accuracy_per_annotator(rest, after.truth)
    known = np.flatnonzero(np.isfinite(new))
    most = known[np.argsort(-np.abs(new - old)[known], kind="stable")][:ROWS_SHOWN]
    ids = loaded.annotator_ids[most].tolist()
    names = service.names_of(session, finished, ids, pseudonyms=pseudonyms)
    return [
        MovedAccuracy(id=f"ann_{id_}", annotator=names[id_], before=float(old[r]), after=float(new[r]))
        for r, id_ in zip(most, ids, strict=True)
    ]
