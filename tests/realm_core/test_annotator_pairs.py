"""Who agrees with whom, and who makes somebody else's mistakes: found when copied, not when only alike."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from realm_core.annotations import Annotations, Task
from realm_core.annotator_pairs import PairRows, annotator_pairs
from realm_core.report_evidence import Evidence
from realm_core.truth_choice import best_truth

K, PER_ITEM = 4, 4
ACCURACY = np.array([0.95, 0.9, 0.88, 0.85, 0.8, 0.8, 0.25, 0.7, 0.7, 0.9])
COPIED, COPIER = 7, 8


def crowd(seed: int, *, copied: float = 0.0, hard: float = 0.0, n_items: int = 600) -> Annotations:
    """Ten people, of whom one copies another; on hard items everybody is often misled to the same wrong answer."""
    draw = np.random.default_rng(seed)
    rows = []
    for item in range(n_items):
        truth, misleads = draw.integers(K), draw.random() < hard
        said: dict[int, int] = {}
        for who in sorted(draw.choice(len(ACCURACY), PER_ITEM, replace=False)):
            right = draw.random() < ACCURACY[who] * (0.5 if misleads else 1)
            away = 1 if misleads and draw.random() < 0.8 else draw.integers(1, K)
            said[who] = int(truth if right else (truth + away) % K)
            if who == COPIER and COPIED in said and draw.random() < copied:
                said[who] = said[COPIED]
        rows += [(item, who, label) for who, label in said.items()]
    item, annotator, label = np.array(rows, np.int32).T
    return Annotations(
        tasks=(Task("t", tuple("abcd")),),
        annotators=tuple(map(str, range(len(ACCURACY)))),
        item_ids=tuple(map(str, range(n_items))),
        item_task=np.zeros(n_items, np.int32),
        item=item,
        annotator=annotator,
        label=label,
    )


def pairs_of(annotations: Annotations) -> PairRows:
    return annotator_pairs(Evidence(annotations, None, best_truth(annotations).truth))


def accused(pairs: PairRows) -> set[tuple[int, int]]:
    return set(zip(pairs.first[pairs.suspicious].tolist(), pairs.second[pairs.suspicious].tolist(), strict=True))


def test_counts_equal_those_of_a_slow_loop() -> None:
    annotations = crowd(1, n_items=150)
    said = {
        (int(i), int(r)): int(y)
        for i, r, y in zip(annotations.item, annotations.annotator, annotations.label, strict=True)
    }
    pairs = pairs_of(annotations)
    found = {
        (r, s): (n, equal) for r, s, n, equal in zip(pairs.first, pairs.second, pairs.shared, pairs.equal, strict=True)
    }
    for r, s in combinations(range(len(ACCURACY)), 2):
        shared = [i for i in range(150) if (i, r) in said and (i, s) in said]
        if len(shared) >= 10:
            assert found.pop((r, s)) == (len(shared), sum(said[i, r] == said[i, s] for i in shared))
    assert found == {}


@pytest.mark.parametrize("hard", [0.0, 0.2])
def test_a_copier_is_found_and_nobody_else(hard: float) -> None:
    assert accused(pairs_of(crowd(3, copied=0.9, hard=hard))) == {(COPIED, COPIER)}


@pytest.mark.parametrize("seed", range(4))
def test_hard_items_accuse_nobody(seed: int) -> None:
    assert accused(pairs_of(crowd(seed, hard=0.3))) == set()


def test_who_shares_nothing_makes_no_pair() -> None:
    annotations = crowd(0, n_items=4)
    assert len(pairs_of(annotations)) == 0
