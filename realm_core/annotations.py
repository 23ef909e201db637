"""What a crowd said, as integer arrays.

Everything downstream (channels, aggregation, training, the report) works on these arrays; names of annotators, labels
and prompts are only looked up when something is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float64]
UNKNOWN = -1  # an item without gold


@dataclass(frozen=True)
class Task:
    """A question type: its name and its K answers.

    `answers` are the labels as annotators write them; `descriptions` (same length) say what each means, in the words
    that reach a language model. A task whose prompts bring their own options has no answers of its own.
    """

    name: str
    answers: tuple[str, ...]
    descriptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.descriptions:
            object.__setattr__(self, "descriptions", self.answers)
        if len(self.descriptions) != len(self.answers):
            raise ValueError(f"task {self.name!r}: {len(self.answers)} answers, {len(self.descriptions)} descriptions")


@dataclass(frozen=True, eq=False)
class Annotations:
    """L labels that R annotators gave to N items of T tasks.

    Shapes: `item_task` (N,), `gold` (N,) or None with UNKNOWN where there is none; `item`, `annotator`, `label` (L,),
    `created_at` (L,) unix seconds with nan where unknown, or None. `label[j]` indexes the answers of item `item[j]`:
    its own options when `options` has them, else its task's answers. `prompts` is None when there is no text.

    `gold` is only scored against. `known` (N,), or None, is a truth that may be used: the posterior is fixed there.
    """

    tasks: tuple[Task, ...]
    annotators: tuple[str, ...]
    item_ids: tuple[str, ...]
    item_task: IntArray
    item: IntArray
    annotator: IntArray
    label: IntArray
    prompts: tuple[str, ...] | None = None
    options: tuple[tuple[str, ...] | None, ...] | None = None
    created_at: FloatArray | None = None
    gold: IntArray | None = None
    known: IntArray | None = None

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @property
    def n_annotators(self) -> int:
        return len(self.annotators)

    @property
    def n_labels(self) -> int:
        return len(self.label)

    @property
    def answer_counts(self) -> IntArray:
        """K_i, the number of answers of each item. (N,)"""
        per_task = np.array([len(task.answers) for task in self.tasks], dtype=np.int32)
        counts = per_task[self.item_task]
        if self.options is not None:
            for index, own in enumerate(self.options):
                if own is not None:
                    counts[index] = len(own)
        return counts

    def answers_of(self, item: int) -> tuple[str, ...]:
        """The answers that item may get, in label order."""
        own = self.options[item] if self.options is not None else None
        return own if own is not None else self.tasks[self.item_task[item]].answers

    def select_items(self, keep: NDArray[np.int64] | IntArray) -> Annotations:
        """The annotations of the items `keep` (indices), renumbered; annotators and tasks keep their numbers."""
        position = np.full(self.n_items, -1, dtype=np.int32)
        position[keep] = np.arange(len(keep), dtype=np.int32)
        rows = np.flatnonzero(position[self.item] >= 0)
        return replace(
            self,
            item_ids=tuple(self.item_ids[i] for i in keep),
            item_task=self.item_task[keep],
            prompts=None if self.prompts is None else tuple(self.prompts[i] for i in keep),
            options=None if self.options is None else tuple(self.options[i] for i in keep),
            gold=None if self.gold is None else self.gold[keep],
            known=None if self.known is None else self.known[keep],
            item=position[self.item[rows]],
            annotator=self.annotator[rows],
            label=self.label[rows],
            created_at=None if self.created_at is None else self.created_at[rows],
        )

    def select_labels(self, keep: NDArray[np.int64] | NDArray[np.bool_]) -> Annotations:
        """The same items with only the label rows `keep` (indices or mask)."""
        return replace(
            self,
            item=self.item[keep],
            annotator=self.annotator[keep],
            label=self.label[keep],
            created_at=None if self.created_at is None else self.created_at[keep],
        )
