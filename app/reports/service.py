"""What can be asked of a finished job. The routes, the exports and the dashboard call the same functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.database import dataset_queries, job_queries, report_annotator_queries, report_item_queries
from app.database.report_item_queries import Source, VoteRow
from app.database.tables import ALL_TASKS, AnnotatorReport, Item, ItemReport, Job
from app.dependencies import PageOf
from app.errors import Conflict, NotFound, Unprocessable
from app.reports.schemas import (
    Accuracy,
    Agreement,
    AnnotatorDetail,
    AnnotatorQuery,
    AnnotatorRow,
    AnswerProbability,
    Confusion,
    Expertise,
    ItemDetail,
    ItemQuery,
    ItemRow,
    LabelRow,
    Vote,
    WeightedVote,
)
from app.reports.wording import reasons

MIN_LABELS_OF_ANSWER = 5.0
_NO_REPORT = {
    "validating_files": "The job has not started yet; its report is there when it has succeeded.",
    "queued": "The job waits for a worker; its report is there when it has succeeded.",
    "running": "The job is running; its report is there when it has succeeded.",
    "failed": "The job failed, so it has no report.",
    "cancelled": "The job was cancelled, so it has no report.",
}


@dataclass(frozen=True)
class ReportTask:
    """A task of the report: its name and its answers in label order (none when its prompts bring their own)."""

    name: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class FinishedJob:
    """A job that has a report. `dataset_key` is None when its dataset was deleted since."""

    job: Job
    dataset_key: int | None
    tasks: tuple[ReportTask, ...]

    @property
    def source(self) -> Source:
        """Where the prompts and votes are. Raises Conflict when they were deleted."""
        if self.dataset_key is None:
            detail = "The dataset of this job was deleted, and its prompts and labels with it."
            raise Conflict(detail, code="dataset_deleted")
        return Source(self.job.key, self.dataset_key, self.job.dataset_version)

    def task_number(self, name: str | None) -> int | None:
        """Raises Unprocessable for a name that no task has."""
        if name is None:
            return None
        for number, task in enumerate(self.tasks):
            if task.name == name:
                return number
        raise Unprocessable(f"There is no task {name!r} in this report.", code="unknown_task", param="task")

    def answer_number(self, task: int | None, answer: str | None, param: str) -> int | None:
        """The number of an answer among those of a task. Raises Unprocessable, for an answer without a task too."""
        if answer is None:
            return None
        if task is None:
            raise Unprocessable("An answer belongs to a task: name the task too.", code="task_missing", param="task")
        if answer not in self.tasks[task].answers:
            detail = f"Task {self.tasks[task].name!r} has no answer {answer!r}."
            raise Unprocessable(detail, code="unknown_answer", param=param)
        return self.tasks[task].answers.index(answer)

    def chance(self, task: str | None) -> float | None:
        """What guessing would get right in a task, or in all; None when that depends on the prompt."""
        tasks = [one for one in self.tasks if task in (None, one.name)]
        sizes = {len(one.answers) for one in tasks}
        return 1 / sizes.pop() if len(sizes) == 1 and 0 not in sizes else None

    def answers_of_row(self, row: AnnotatorReport) -> tuple[str, ...]:
        """The answers that a row's details count in; a row over several tasks has none."""
        if row.task != ALL_TASKS:
            return self.tasks[row.task].answers
        return self.tasks[0].answers if len(self.tasks) == 1 else ()

    def labelled(self, item: Item, answer: int, probability: float | None) -> dict[str, Any]:
        """What all rows about an item begin with: the item, an answer of it, and how probable that is."""
        return {
            "id": f"item_{item.item}",
            "item_id": item.item_id,
            "prompt": item.prompt,
            "task": self.tasks[item.task].name,
            "label": self.answers_of_item(item)[answer],
            "probability": probability,
        }

    def answers_of_item(self, item: Item) -> tuple[str, ...]:
        return tuple(item.options) if item.options is not None else self.tasks[item.task].answers


def find_finished_job(session: Session, project_id: str, job_id: str) -> FinishedJob:
    """The job, once it has a report. Raises NotFound, or Conflict that says why there is none."""
    job = job_queries.find_job(session, project_id, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.")
    if job.status != "succeeded":
        detail = f"{_NO_REPORT[job.status]} {job.error_message or ''}".strip()
        raise Conflict(detail, code=f"job_{job.status}")
    return finished_job(session, job)


def finished_job(session: Session, job: Job) -> FinishedJob:
    """A job that has succeeded, with what its report's numbers stand for."""
    tasks = tuple(ReportTask(task["name"], tuple(task["answers"])) for task in (job.summary or {})["tasks"])
    dataset = dataset_queries.find_dataset(session, job.project_id, job.dataset_id) if job.dataset_id else None
    return FinishedJob(job, dataset.key if dataset else None, tasks)


def number_in_id(public_id: str, prefix: str, what: str) -> int:
    """The number in an id. Raises NotFound for an id that nothing can have."""
    match = re.fullmatch(prefix + r"(0|[1-9][0-9]{0,8})", public_id, re.ASCII)
    if match is None:
        raise NotFound(f"There is no {what} {public_id!r} in this report.")
    return int(match[1])


def list_annotators(session: Session, finished: FinishedJob, query: AnnotatorQuery) -> PageOf[AnnotatorRow]:
    """A page of the annotators' rows. Raises NotFound for an unknown `after`, Unprocessable for an unknown task."""
    task = finished.task_number(query.task)
    rows = report_annotator_queries.list_annotators(
        session,
        finished.job.key,
        task=ALL_TASKS if task is None else task,
        name_contains=query.name,
        sort=query.sort,
        pseudonyms=query.pseudonyms,
        after=None if query.after is None else number_in_id(query.after, "ann_", "annotator"),
        limit=query.limit,
    )
    if rows is None:
        raise NotFound(f"There is no annotator {query.after!r} in this list.", param="after")
    return PageOf[AnnotatorRow].of(
        [_annotator_row(finished, row, None if query.pseudonyms else name) for row, name in rows], query.limit
    )


def get_annotator(
    session: Session, finished: FinishedJob, public_id: str, *, pseudonyms: bool = False
) -> AnnotatorDetail:
    """Everything about one annotator. Raises NotFound."""
    rows = report_annotator_queries.annotator_rows(
        session, finished.job.key, number_in_id(public_id, "ann_", "annotator")
    )
    if not rows:
        raise NotFound(f"There is no annotator {public_id!r} in this report.")
    over_all, *per_task = [_annotator_row(finished, row, None if pseudonyms else name) for row, name in rows]
    return AnnotatorDetail(
        **dict(over_all), tasks=per_task, confusion=[c for row, _ in rows for c in _confusion(finished, row)]
    )


def jobs_about(session: Session, project_id: str, public_id: str, limit: int) -> Sequence[Job]:
    """The newest jobs whose reports have this annotator. Raises NotFound for an id that nobody can have."""
    annotator = number_in_id(public_id, "ann_", "annotator")
    return report_annotator_queries.jobs_about(session, project_id, annotator, limit)


def _annotator_row(finished: FinishedJob, row: AnnotatorReport, name: str | None) -> AnnotatorRow:
    """A row of the API, without a name under the id alone."""
    return AnnotatorRow(
        id=f"ann_{row.annotator}",
        annotator=f"ann_{row.annotator}" if name is None else name,
        task=None if row.task == ALL_TASKS else finished.tasks[row.task].name,
        n=row.n,
        accuracy=Accuracy(value=row.accuracy, low=row.accuracy_low, high=row.accuracy_high, method=row.accuracy_method),
        model_accuracy=row.model_accuracy,
        expertise=Expertise(value=row.expertise, low=row.expertise_low, high=row.expertise_high),
        agreement=row.agreement,
        flags=row.flags,
        reasons=reasons(row, finished.answers_of_row(row)),
        **_worst_answer(row, finished.answers_of_row(row)),
        median_seconds=row.median_seconds,
        cost_per_correct=row.mean_cost / row.accuracy if row.mean_cost is not None and row.accuracy else None,
    )


def _worst_answer(row: AnnotatorReport, answers: Sequence[str]) -> dict[str, Any]:
    """The answer that the annotator recognises the least often, of those that they saw often enough."""
    counts = row.detail.get("confusion") if row.accuracy is not None else None
    right = {
        answer: own[number] / sum(own)
        for number, (answer, own) in enumerate(zip(answers, counts or (), strict=False))
        if sum(own) >= MIN_LABELS_OF_ANSWER
    }
    worst = min(right, key=lambda answer: right[answer], default=None)
    return {"worst_answer": worst, "worst_answer_accuracy": None if worst is None else right[worst]}


def _confusion(finished: FinishedJob, row: AnnotatorReport) -> list[Confusion]:
    counts = row.detail.get("confusion")
    if row.task == ALL_TASKS or counts is None:
        return []
    task = finished.tasks[row.task]
    return [Confusion(task=task.name, answers=list(task.answers), counts=counts)]


def list_items(session: Session, finished: FinishedJob, query: ItemQuery) -> PageOf[ItemRow]:
    """A page of the items' rows. Raises NotFound for an unknown `after`, Unprocessable for an unknown task."""
    rows = _find_items(session, finished, query)
    votes = report_item_queries.votes_on(session, finished.source, [item.item for _, item in rows[: query.limit]])
    return PageOf[ItemRow].of(
        [
            _item_row(finished, report, item, votes.get(item.item, []), pseudonyms=query.pseudonyms)
            for report, item in rows
        ],
        query.limit,
    )


def list_labels(session: Session, finished: FinishedJob, query: ItemQuery) -> PageOf[LabelRow]:
    """The same without the votes, which cost most of the time."""
    rows = _find_items(session, finished, query)
    found = [LabelRow(**finished.labelled(item, report.label, report.probability)) for report, item in rows]
    return PageOf[LabelRow].of(found, query.limit)


def _find_items(session: Session, finished: FinishedJob, query: ItemQuery) -> report_item_queries.ItemRows:
    task = finished.task_number(query.task)
    rows = report_item_queries.list_items(
        session,
        finished.source,
        only=report_item_queries.ItemFilter(
            task=task,
            item_id=query.item_id,
            label=finished.answer_number(task, query.label, "label"),
            text_contains=query.text,
            probability_min=query.probability_min,
            probability_max=query.probability_max,
        ),
        sort=query.sort,
        after=None if query.after is None else number_in_id(query.after, "item_", "item"),
        limit=query.limit,
    )
    if rows is None:
        raise NotFound(f"There is no item {query.after!r} in this report.", param="after")
    return rows


def _item_row(
    finished: FinishedJob, report: ItemReport, item: Item, votes: list[VoteRow], *, pseudonyms: bool = False
) -> ItemRow:
    answers = finished.answers_of_item(item)
    return ItemRow(
        **finished.labelled(item, report.label, report.probability),
        model_probability=report.model_probability,
        votes=[
            Vote(annotator=f"ann_{vote.annotator}" if pseudonyms else vote.name, label=answers[vote.label])
            for vote in votes
        ],
        relabel_gain=report.relabel_gain,
    )


def get_item(session: Session, finished: FinishedJob, public_id: str) -> ItemDetail:
    """One item with its votes and the probability of every answer. Raises NotFound."""
    source, number = finished.source, number_in_id(public_id, "item_", "item")
    row = report_item_queries.find_item(session, source, number)
    if row is None:
        raise NotFound(f"There is no item {public_id!r} in this report.")
    report, item = row
    votes = report_item_queries.votes_on(session, source, [number]).get(number, [])
    answers = finished.answers_of_item(item)
    return ItemDetail(
        **_item_row(finished, report, item, votes).model_dump(exclude={"votes"}),
        votes=[
            WeightedVote(id=f"ann_{v.annotator}", annotator=v.name, label=answers[v.label], accuracy=v.accuracy)
            for v in votes
        ],
        answers=_answer_probabilities(report, answers),
    )


def _answer_probabilities(report: ItemReport, answers: Sequence[str]) -> list[AnswerProbability]:
    """The probabilities of all answers; zeros after the last other are not stored."""
    none_left = [0.0] * len(answers)
    posterior, model = report.posterior + none_left, report.model_posterior
    return [
        AnswerProbability(
            answer=answer,
            probability=posterior[number],
            model_probability=None if model is None else (model + none_left)[number],
        )
        for number, answer in enumerate(answers)
    ]


def expertise_by_task(
    session: Session, finished: FinishedJob, annotator_ids: Sequence[str]
) -> dict[tuple[str, str], float | None]:
    """The expertise of some annotators by (id, task)."""
    numbers = [number_in_id(id_, "ann_", "annotator") for id_ in annotator_ids]
    rows = report_annotator_queries.expertise_by_task(session, finished.job.key, numbers)
    return {(f"ann_{annotator}", finished.tasks[task].name): value for annotator, task, value in rows}


def names_of(
    session: Session, finished: FinishedJob, annotators: Sequence[int], *, pseudonyms: bool = False
) -> dict[int, str]:
    """What annotators of the report are called, by their keys."""
    if pseudonyms:
        return {key: f"ann_{key}" for key in annotators}
    return report_annotator_queries.names_of(session, finished.job.key, annotators)


def get_agreement(session: Session, finished: FinishedJob) -> Agreement:
    """The report's overview."""
    n_flagged, flags = report_annotator_queries.count_flags(session, finished.job.key)
    counted = {"n_flagged": n_flagged, "flags": flags}
    return Agreement.model_validate({"job_id": finished.job.id, **(finished.job.summary or {}), **counted})
