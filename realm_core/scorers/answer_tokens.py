"""How answers become tokens of a language model.

Answers are named by letters: A, B, …, Z, AA, AB, … Which tokens a letter has is found by tokenising text with and
without it, never by taking a "first id": T5 writes a lower-case "a" as ["▁", "a"], so that all lower-case letters share
their first id, and decoder-only models write "A" and " A" differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from realm_core.base_models import BaseModelUnavailable

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def letters(number: int) -> str:
    """A, B, …, Z, AA, AB, …"""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, len(_LETTERS))
        name = _LETTERS[rest] + name
    return name


def tokens_after(tokenizer: Any, context: str, answers: Sequence[str]) -> list[tuple[int, ...]] | None:
    """The tokens that each answer adds to the context; None where an answer changes the context's own tokens."""

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    before = ids(context)
    whole = [ids(context + answer) for answer in answers]
    if any(text[: len(before)] != before or len(text) == len(before) for text in whole):
        return None
    return [text[len(before) :] for text in whole]


def count_single(tokens: Sequence[tuple[int, ...]]) -> int:
    """How many of the first answers are a single token each, all different."""
    seen: set[int] = set()
    for of_answer in tokens:
        if len(of_answer) != 1 or of_answer[0] in seen:
            break
        seen.add(of_answer[0])
    return len(seen)


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of the letters after `context`, each written as `form`; the first `n_single` are one token each."""

    tokenizer: Any
    context: str
    form: str
    n_single: int

    @classmethod
    def find(cls, tokenizer: Any, context: str, forms: Sequence[str]) -> AnswerTokens:
        """The form in which most letters are single tokens. Raises BaseModelUnavailable."""
        found: list[AnswerTokens] = []
        for form in forms:
            tokens = tokens_after(tokenizer, context, [form.format(letter) for letter in _LETTERS])
            if tokens is not None:
                found.append(cls(tokenizer, context, form, count_single(tokens)))
        if not found:
            raise BaseModelUnavailable("The tokenizer of this base model has no tokens of their own for answers.")
        return max(found, key=lambda tokens: tokens.n_single)

    def single(self, n_answers: int) -> bool:
        """Whether one token tells which of so many answers is meant."""
        return n_answers <= self.n_single

    @lru_cache(maxsize=64)  # noqa: B019 (as long-lived as the scorer)
    def of(self, n_answers: int) -> tuple[tuple[int, ...], ...]:
        """The tokens of the first answers, all different. Raises BaseModelUnavailable."""
        names = [self.form.format(letters(number)) for number in range(n_answers)]
        tokens = tokens_after(self.tokenizer, self.context, names) or []
        if len(set(tokens)) != n_answers:
            raise BaseModelUnavailable(f"The tokenizer of this base model cannot tell {n_answers} answers apart.")
        return tuple(tokens)
