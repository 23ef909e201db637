"""How a file is to be read: names of its columns, its answers, what to skip, and how much is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from realm_core.formats.faults import BadData, OnError, is_unicode

Answers = dict[str, str]  # name -> description, in label order
DEFAULT_TASK = "default"


@dataclass(frozen=True)
class Limits:
    """How much is allowed, so that no file can take all memory or all day."""

    max_bytes: int = 4 * 1024**3  # uncompressed
    max_field_bytes: int = 1024**2
    max_name_bytes: int = 1000  # of an annotator or a task: databases index them whole
    max_rows: int = 50_000_000
    max_answers: int = 1000  # per task or prompt
    max_tasks: int = 1000
    max_annotators: int = 1_000_000
    max_columns: int = 1000
    block_bytes: int = 4 * 1024**2  # read at once; also the longest record


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class DeclaredAnswers:
    """The answers that the user declared: of named tasks, and of every other task (None: those that are seen)."""

    by_task: Mapping[str, Answers] = field(default_factory=dict)
    of_others: Answers | None = None

    def of(self, task: str) -> Answers | None:
        return self.by_task.get(task, self.of_others)

    @classmethod
    def parse(cls, labels: Any) -> DeclaredAnswers:
        """Read `["a", "b"]`, `{"a": "what a means"}`, or one of these for each task. Raises BadData."""
        if labels is None:
            return cls()
        if isinstance(labels, dict) and labels and all(isinstance(value, list | dict) for value in labels.values()):
            return cls(by_task={task: _answers(answers) for task, answers in labels.items()})
        return cls(of_others=_answers(labels))


def _answers(given: Any) -> Answers:
    pairs = list(given.items()) if isinstance(given, dict) else [(name, name) for name in _listed(given)]
    for name, description in pairs:
        if not isinstance(name, str) or not isinstance(description, str) or not name.strip():
            raise BadData("invalid_labels", f"A label and its description must be non-empty text, not {name!r}.")
        if "\0" in name + description or not is_unicode(name + description):
            raise BadData("invalid_labels", "A label has a character that cannot be kept: NUL, or half of a pair.")
    answers = {name: description.strip() or name for name, description in pairs}
    if len(answers) < len(pairs):
        raise BadData("invalid_labels", "The same label is declared twice.")
    if len(answers) < 2:
        raise BadData("invalid_labels", "A task needs at least two labels.")
    return answers


def _listed(given: Any) -> list[Any]:
    if not isinstance(given, list):
        example = '["yes", "no"], {"yes": "it is", "no": "it is not"}, or one of these for each task'
        raise BadData("invalid_labels", f"labels must be {example}.")
    return given


@dataclass(frozen=True)
class ReadingOptions:
    """How a file is to be read. `mapping` goes from the file's column names to ours."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    ignore_labels: Sequence[str] = ()
    labels: DeclaredAnswers = DeclaredAnswers()
    on_error: OnError = "abort"
    limits: Limits = DEFAULT_LIMITS
