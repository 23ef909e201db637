"""Which rows are about the same item, which of repeated ones counts, and the hash of what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.realm_core.reading import GOOD, only_fault, read_bytes, read_text, refused


def test_one_annotator_is_enough() -> None:
    assert read_bytes("prompt,annotator,label\np,ann,yes\nq,ann,no\n")[0].annotators == ("ann",)


def test_the_last_of_repeated_rows_counts() -> None:
    repeats = "p1,ann,no\np1,ann,yes\np1,ann,no\np2,ann,no\n"
    table, _ = read_bytes(GOOD + repeats)
    assert table.item.tolist() == [0, 0, 1]
    assert [list(table.tasks[0].answers)[label] for label in table.label] == ["no", "no", "no"]
    assert (table.counts.conflicting_repeats, table.counts.identical_repeats) == (2, 2)
    assert (table.counts.rows, table.counts.labels) == (7, 3)


@pytest.mark.parametrize("block_bytes", [60, 8 * 1024**2], ids=["small blocks", "one block"])
def test_one_item_id_with_two_texts_names_both_rows(block_bytes: int) -> None:
    data = "item_id,prompt,annotator,label\n7,a text,ann,yes\n8,other,bob,no\n7,another text,bob,no\n"
    fault = only_fault(data, block_bytes=block_bytes)
    assert (fault.row, fault.column, fault.code) == (4, "prompt", "item_with_two_texts")
    assert "'7'" in fault.detail
    assert "row 2" in fault.detail


def test_the_same_text_may_have_several_item_ids(tmp_path: Path) -> None:
    annotations = read_text(tmp_path, "item_id,prompt,annotator,label\n1,p,ann,yes\n2,p,ann,no\n,p,ann,no\n")
    assert annotations.item_ids == ("1", "2", "item_2")
    assert annotations.prompts == ("p", "p", "p")


def test_data_without_text(tmp_path: Path) -> None:
    annotations = read_text(tmp_path, "item_id,annotator,label\na,ann,yes\nb,ann,no\na,bob,yes\n")
    assert annotations.prompts is None
    assert annotations.item_ids == ("a", "b")
    assert only_fault("item_id,annotator,label\n,ann,yes\n").code == "empty_item_id"


def test_gold_of_any_row_counts_for_the_item(tmp_path: Path) -> None:
    text = "prompt,annotator,label,gold\np,ann,yes,\nq,ann,no,no\np,bob,no,maybe\nr,ann,no,\n"
    annotations = read_text(tmp_path, text)
    assert annotations.tasks[0].answers == ("maybe", "no", "yes")
    assert annotations.gold is not None
    assert annotations.gold.tolist() == [0, 1, -1]


def test_two_gold_labels_of_one_item() -> None:
    fault = only_fault("prompt,annotator,label,gold\np,ann,yes,no\np,bob,yes,yes\n")
    assert (fault.row, fault.column, fault.code) == (3, "gold", "two_gold_labels")
    assert only_fault("prompt,annotator,label,gold\np,ann,yes,x\n", labels=["yes", "no"]).code == "unknown_gold"


def test_the_hash_does_not_depend_on_the_order_of_rows() -> None:
    header, *rows = (
        "item_id,prompt,annotator,label,task,gold\n1,p,ann,yes,t,no\n1,p,bob,no,t,\n2,q,ann,x,u,\n3,q,bob,y,u,y\n".splitlines()
    )
    hashes = {
        read_bytes("\n".join([header, *order]) + "\n")[0].sha256
        for order in (rows, rows[::-1], [rows[2], rows[0], rows[3], rows[1]])
    }
    assert len(hashes) == 1


CHANGES = [
    ("1,p,bob", "1,p,eve"),
    ("bob,no", "bob,yes"),
    ("1,p", "1,pp"),
    ("t,no", "t,yes"),
    ("3,q", "4,q"),
    (",u,", ",v,"),
]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_the_hash_depends_on_all_that_the_data_say(before: str, after: str) -> None:
    data = "item_id,prompt,annotator,label,task,gold\n1,p,ann,yes,t,no\n1,p,bob,no,t,\n2,q,ann,x,u,\n3,q,bob,y,u,y\n"
    assert read_bytes(data)[0].sha256 != read_bytes(data.replace(before, after))[0].sha256


def test_annotators_are_limited() -> None:
    rows = "".join(f"p,{n},yes\n" for n in range(101))
    assert refused("prompt,annotator,label\n" + rows, limits={"max_annotators": 100}).code == "too_many_annotators"
