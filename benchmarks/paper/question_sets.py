"""The sets that annotators answer, from the data folder: questions with their own options, or texts to classify.

The paper's sets are ARC (challenge), OpenBookQA, PIQA, PubMedQA and RiddleSense. Where the files of PIQA and
RiddleSense are missing, sst2 (2 answers, as PIQA) and trec6 (6 answers, RiddleSense has 5) stand in for them, under
their own names.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from realm_core.annotations import Annotations, IntArray, Task

TASKS = {
    "pubmedqa": {
        "yes": "Yes, the results confirm it.",
        "no": "No, there was no difference or effect.",
        "maybe": "Maybe, the evidence is mixed and more research is needed.",
    },
    "sst2": {
        "negative": "a bad movie, boring and terrible",
        "positive": "a good movie, enjoyable and wonderful",
    },
    "trec6": {
        "ABBR": "what does an abbreviation or acronym stand for",
        "DESC": "what is the definition, description, manner or reason of something",
        "ENTY": "what thing, animal, food, product, colour or work is it",
        "HUM": "who is the person, group or organisation",
        "LOC": "where is the place, city, country or state",
        "NUM": "how many or how much: a number, date, distance or price",
    },
}
OF_THE_PAPER = ("arc_challenge", "openbookqa", "piqa", "pubmedqa", "riddlesense")
STAND_INS = {"piqa": "sst2", "riddlesense": "trec6"}
CHOICES = {
    "arc_challenge": 4,
    "openbookqa": 4,
    "piqa": 2,
    "riddlesense": 5,
}  # others are left out


@dataclass(frozen=True, eq=False)
class Questions:
    """Prompts with their options (None where the task has fixed answers) and the right answers (N,)."""

    prompts: tuple[str, ...]
    options: tuple[tuple[str, ...] | None, ...]
    truth: IntArray

    def __len__(self) -> int:
        return len(self.prompts)

    def first(self, count: int) -> Questions:
        return Questions(self.prompts[:count], self.options[:count], self.truth[:count])


@dataclass(frozen=True, eq=False)
class QuestionSet:
    """A set, shuffled once, the same way each time. `stands_in_for` names the paper's set that it replaces."""

    name: str
    stands_in_for: str | None
    task: Task
    train: Questions
    test: Questions


def data_folder(given: Path | None) -> Path:
    """The folder that --data or REALM_BENCH_DATA names. Raises SystemExit with a sentence when there is none."""
    folder = given or Path(os.environ.get("REALM_BENCH_DATA", ""))
    if not (folder / "qa").is_dir() and not (folder / "plain").is_dir():
        raise SystemExit(f"No qa or plain folder in {folder!s}: name the data folder with --data or REALM_BENCH_DATA.")
    return folder


def available(folder: Path) -> dict[str, str | None]:
    """The sets of the folder, in the paper's order, and which of the paper's each stands in for."""
    found: dict[str, str | None] = {}
    for name in OF_THE_PAPER:
        stand_in = STAND_INS.get(name, name)
        if (folder / "qa" / f"{name}.jsonl.gz").is_file():
            found[name] = None
        elif (folder / "plain" / f"{stand_in}.csv.gz").is_file():
            found[stand_in] = name
    return found


def read_set(folder: Path, name: str, stands_in_for: str | None) -> QuestionSet:
    """Read and shuffle one set."""
    rows = _labelled_texts(folder, name) if name in STAND_INS.values() else _questions(folder, name)
    answers = TASKS.get(name, {})
    task = Task(name, tuple(answers), tuple(answers.values()))
    order = np.random.default_rng(0).permutation(len(rows))
    train, test = ([rows[i] for i in order if rows[i][3] == part] for part in ("train", "test"))
    return QuestionSet(name, stands_in_for, task, _as_questions(train), _as_questions(test))


Row = tuple[str, tuple[str, ...] | None, int, str]  # prompt, options, truth, split


def _questions(folder: Path, name: str) -> list[Row]:
    rows: list[Row] = []
    with gzip.open(folder / "qa" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if len(row["choices"]) != CHOICES.get(name, len(row["choices"])):
                continue
            prompt = "\n".join(filter(None, (row["question"], row.get("context"))))
            fixed = list(TASKS.get(name, {}))
            truth = fixed.index(row["choices"][row["answer_index"]]) if fixed else row["answer_index"]
            rows.append((prompt, None if fixed else tuple(row["choices"]), truth, row["split"]))
    return rows


def _labelled_texts(folder: Path, name: str) -> list[Row]:
    frame = pl.read_csv(folder / "plain" / f"{name}.csv.gz", infer_schema=False)
    answers = list(TASKS[name])
    return [(text, None, answers.index(label), split) for text, label, split in frame.iter_rows()]


def _as_questions(rows: Sequence[Row]) -> Questions:
    prompts, options = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
    return Questions(prompts, options, np.array([row[2] for row in rows], dtype=np.int32))


def annotations_of(
    sets: Sequence[tuple[Task, Questions]],
    annotators: Sequence[str] = ("nobody",),
    labels: tuple[IntArray, IntArray, IntArray] | None = None,
) -> Annotations:
    """The questions of some sets, one task each, with labels (item, annotator, label), each (L,), or none.

    Gold is not put in: whoever trains on these cannot read it.
    """
    none = np.zeros(0, dtype=np.int32)
    item, annotator, label = labels or (none, none, none)
    prompts = tuple(prompt for _, questions in sets for prompt in questions.prompts)
    options = tuple(own for _, questions in sets for own in questions.options)
    return Annotations(
        tasks=tuple(task for task, _ in sets),
        annotators=tuple(annotators),
        item_ids=tuple(map(str, range(len(prompts)))),
        item_task=np.repeat(np.arange(len(sets)), [len(q) for _, q in sets]).astype(np.int32),
        item=item,
        annotator=annotator,
        label=label,
        prompts=prompts,
        options=options if any(own is not None for own in options) else None,
    )
