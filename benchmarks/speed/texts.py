"""Texts of natural lengths, the same in every run."""

from __future__ import annotations

import numpy as np

_COMMON = (
    "the a of to in and is was for on with that it as at by from this be are or an which have not they what when where "
    "who how why many people year time day world city country river water history first last long great small old new "
    "company market price oil stock bank report game team player season coach league music film actor book writer "
    "science study cell energy heart doctor health patient school student language word mean call name find make take "
    "give work play write read run open close build move show tell ask answer question number place house family"
)
WORDS = tuple(_COMMON.split(" "))


def texts(n: int, seed: int, *, median: float, sigma: float, longest: int) -> list[str]:
    """n texts whose numbers of words are lognormal."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(median), sigma, n).round(), 3, longest).astype(int)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def questions(n: int, seed: int = 0) -> list[str]:
    """About as long as those of TREC: 10 words, the longest 33."""
    return texts(n, seed, median=9.5, sigma=0.35, longest=33)


def prompts(n: int, seed: int = 0) -> list[str]:
    """About as long as what people label: median 14 words, mean 18, a twentieth beyond 45, none beyond 60."""
    return texts(n, seed, median=14, sigma=0.7, longest=60)
