"""Statistics and warnings against counting by hand."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.datasets import statistics, tally
from app.datasets.statistics import CrowdLabels, CrowdSums, statistics_of, sums_of

ANSWERS = ("a", "b", "c")
Label = tuple[int, int, int]  # item, annotator, label


def crowd(labels: list[Label], tasks: tuple[int, ...] | None = None, **changes: Any) -> CrowdLabels:
    item, annotator, label = np.array(sorted(labels)).T
    n_items = int(item.max()) + 1
    values: dict[str, Any] = {
        "annotator_keys": np.arange(int(annotator.max()) + 1),
        "item_task": np.array(tasks or [0] * n_items),
        "item_has_options": np.zeros(n_items, np.bool_),
        "item": item,
        "annotator": annotator,
        "label": label,
    }
    return CrowdLabels(**(values | changes))


def described(one: CrowdLabels | CrowdSums, answers: tuple[str, ...] = ANSWERS) -> dict[str, Any]:
    sums = one if isinstance(one, CrowdSums) else sums_of(one)
    n_tasks = int(sums.items.keys[:, 0].max()) + 1
    tasks = [("tuv"[number], answers) for number in range(n_tasks)]
    return statistics_of(sums, tasks, lambda keys: [f"r{key}" for key in keys])


def codes(one: CrowdLabels, answers: tuple[str, ...] = ANSWERS) -> list[str]:
    return [warning["code"] for warning in described(one, answers)["warnings"]]


@pytest.mark.parametrize("cells", [3, 4_000_000], ids=["an item at once", "all at once"])
@given(
    pairs=st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 3)), st.integers(0, 2), min_size=1, max_size=24)
)
def test_agreement_is_the_share_of_equal_pairs(cells: int, pairs: dict[tuple[int, int], int]) -> None:
    seen = {item: number for number, item in enumerate(sorted({item for item, _ in pairs}))}
    labels = [(seen[item], annotator, label) for (item, annotator), label in pairs.items()]
    by_item = [[label for item, _, label in labels if item == number] for number in range(len(seen))]
    compared = [one == other for given in by_item for one, other in combinations(given, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_CELLS_AT_ONCE", cells)
        agreement = described(crowd(labels))["agreement"]
    assert agreement == (sum(compared) / len(compared) if compared else None)


def test_counts() -> None:
    labels = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 0, 1), (2, 1, 2)]
    found = described(crowd(labels))
    assert found["labels_per_item"] == {
        "min": 1,
        "median": 1.0,
        "mean": pytest.approx(5 / 3),
        "max": 3,
        "histogram": {"1": 2, "3": 1},
    }
    assert found["labels_per_annotator"] == {"min": 1, "median": 2.0, "mean": pytest.approx(5 / 3), "max": 2}
    assert found["overlap"] == {
        "items_with_several_labels": 1,
        "share": pytest.approx(1 / 3),
        "annotators_without_overlap": 0,
    }
    counts = Counter(ANSWERS[label] for _, _, label in labels)
    assert found["tasks"][0]["balance"] == [
        {"label": answer, "count": counts[answer], "share": counts[answer] / 5} for answer in ANSWERS
    ]


def test_the_last_bar_of_the_histogram_holds_the_rest() -> None:
    labels = [(0, annotator, 0) for annotator in range(25)] + [(1, annotator, 0) for annotator in range(20)]
    assert described(crowd(labels))["labels_per_item"]["histogram"] == {"20+": 2}


def test_tasks_are_counted_apart_and_own_options_are_no_balance() -> None:
    labels = [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 2), (2, 0, 2), (2, 1, 2)]
    options = np.array([False, False, True])
    first, second = described(crowd(labels, (0, 1, 1), item_has_options=options))["tasks"]
    assert (first["items"], first["labels"], first["agreement"]) == (1, 2, 1.0)
    assert (second["items"], second["labels"], second["agreement"]) == (2, 4, 0.5)
    assert [bar["count"] for bar in second["balance"]] == [0, 1, 1]


def test_nothing_to_warn_of() -> None:
    assert codes(crowd([(0, 0, 0), (0, 1, 1)])) == []


def test_what_cannot_be_learned() -> None:
    assert codes(crowd([(0, 0, 0), (1, 0, 1)])) == ["one_annotator"]
    assert codes(crowd([(0, 0, 0), (1, 1, 1)])) == ["one_label_per_prompt"]
    assert codes(crowd([(0, 0, 0), (0, 1, 1), (1, 2, 0)])) == ["annotators_without_overlap"]
    assert codes(crowd([(0, 0, 0), (0, 1, 0)]), ("a",)) == ["one_answer"]


def test_annotators_without_overlap_are_named() -> None:
    labels = [(0, 0, 0), (0, 1, 1), *((number, number + 1, 0) for number in range(1, 8))]
    (warning,) = described(crowd(labels))["warnings"]
    assert warning["detail"].startswith(
        "7 of 9 annotators share no prompt with anybody ('r2', 'r3', 'r4', 'r5', 'r6', …)"
    )


def test_labels_that_differ_in_case_or_spaces() -> None:
    answers = ("Yes", "yes ", "no", "NO", "maybe")
    details = [warning["detail"] for warning in described(crowd([(0, 0, 0), (0, 1, 1)]), answers)["warnings"]]
    assert details == [
        "Task 't' has labels that differ only in case or spaces: 'Yes', 'yes '.",
        "Task 't' has labels that differ only in case or spaces: 'no', 'NO'.",
    ]


def alpha(labels: list[Label], **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = described(crowd(labels, **changes))["tasks"][0]["alpha"]
    return found


@given(
    cells=st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 3)), st.integers(0, 2), min_size=1, max_size=24)
)
def test_alpha_is_one_minus_observed_over_expected_disagreement(cells: dict[tuple[int, int], int]) -> None:
    seen = {item: number for number, item in enumerate(sorted({item for item, _ in cells}))}
    found = alpha([(seen[item], annotator, label) for (item, annotator), label in cells.items()])
    by_item = [[label for (one, _), label in cells.items() if one == item] for item in seen]
    shared = [given for given in by_item if len(given) > 1]
    everything = [label for given in shared for label in given]
    n = len(everything)
    observed = sum(
        sum(one != other for a, one in enumerate(given) for b, other in enumerate(given) if a != b) / (len(given) - 1)
        for given in shared
    )
    expected = sum(one != other for one in everything for other in everything) / max(n - 1, 1)
    assert found["n_items"] == len(shared)
    assert found["value"] == (pytest.approx(1 - observed / expected) if expected else None)


def test_the_interval_of_alpha_holds_it_and_narrows_with_more_items() -> None:
    draw = np.random.default_rng(1)

    def labels(n_items: int) -> list[Label]:
        truth = draw.integers(0, 3, n_items)
        right = draw.random((n_items, 3)) < 0.8
        said = np.where(right, truth[:, None], draw.integers(0, 3, (n_items, 3)))
        return [(item, annotator, int(said[item, annotator])) for item in range(n_items) for annotator in range(3)]

    few, many = alpha(labels(50)), alpha(labels(5000))
    for one in (few, many):
        assert one["low"] < one["value"] < one["high"]
    assert few["high"] - few["low"] > 4 * (many["high"] - many["low"])
    assert many["low"] < 0.64 < many["high"]  # (share that everybody knows) squared


def test_alpha_is_unknown_without_shared_items_or_with_one_answer_only() -> None:
    assert alpha([(0, 0, 0), (1, 1, 1)]) == {"value": None, "low": None, "high": None, "n_items": 0}
    assert alpha([(0, 0, 0), (0, 1, 0)])["value"] is None
    assert alpha([(0, 0, 0), (0, 1, 1)], item_has_options=np.array([True]))["n_items"] == 0


Cell = tuple[int, int]  # item, annotator
SAID = st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 4)), st.integers(0, 2), min_size=1)
KINDS = [(0, False), (1, True), (0, False), (1, False), (2, False), (2, False), (0, True), (1, False)]  # of items


def numbered(said: dict[Cell, int], items: list[int]) -> CrowdLabels:
    """What was said of some items, which have tasks, options and numbers of their own."""
    place = {item: number for number, item in enumerate(items)}
    labels = sorted((place[item], annotator, label) for (item, annotator), label in said.items() if item in place)
    columns = np.array(labels, np.int64).reshape(-1, 3).T
    return CrowdLabels(
        annotator_keys=np.arange(5) + 100,
        item_task=np.array([KINDS[item][0] for item in items], np.int16),
        item_has_options=np.array([KINDS[item][1] for item in items], np.bool_),
        item=columns[0],
        annotator=columns[1],
        label=columns[2],
        item_number=np.array(items, np.int64),
    )


@pytest.mark.parametrize(("at_once", "dense"), [(1, 0), (2**20, 2**16)])
@given(first=SAID, later=st.lists(SAID, max_size=3))
def test_sums_after_appends_are_those_of_a_recount(
    at_once: int, dense: int, first: dict[Cell, int], later: list[dict[Cell, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_LABELS_AT_ONCE", at_once)
        patch.setattr(tally, "_DENSE", dense)
        patch.setattr(statistics, "N_GROUPS", 3)
        n_items, said = 1 + max(item for item, _ in first), dict(first)
        sums = sums_of(numbered(said, list(range(n_items))))
        for new in later:
            touched = sorted({item for item, _ in new} | set(range(n_items, 1 + max(item for item, _ in new))))
            before = sums_of(numbered(said, [item for item in touched if item < n_items]))
            said |= new
            n_items = max(n_items, touched[-1] + 1)
            kept = CrowdSums.from_bytes(sums.to_bytes())
            sums = kept.changed(before, sums_of(numbered(said, touched)))
        recount = sums_of(numbered(said, list(range(n_items))))
        for name in ("items", "answers", "annotators"):
            ours, counted = getattr(sums, name), getattr(recount, name)
            assert np.array_equal(ours.keys, counted.keys)
            assert np.array_equal(ours.counts, counted.counts)
        assert described(sums) == described(recount)


def test_tallies_add_up_by_key() -> None:
    found = tally.Tally.of((np.array([2, 0, 2]), np.array([1, 5, 1])), np.array([3, 4, 5]))
    assert found.keys.tolist() == [[0, 5], [2, 1]]
    assert found.counts.tolist() == [[4], [8]]
    assert found.where(2).keys.tolist() == [[1]]
    assert found.minus(found).keys.shape == (0, 2)
    assert found.plus(tally.Tally.nothing(2, 1)).counts.tolist() == [[4], [8]]
