"""Prodigy's JSONL (db-out): a line for each answer of each annotator to a choice or a yes-or-no question."""

from __future__ import annotations

from collections.abc import Iterator

from realm_core.formats.recognised import BadRecord, Recognised, Record, Row, listed, only_one


def recognise_record(first: Record) -> Recognised | None:
    if "_task_hash" not in first or "_input_hash" not in first:
        return None
    note = (
        "Read as answers of Prodigy: the annotator is _annotator_id, or else _session_id; a choice is the label, and "
        "yes-or-no questions are tasks named after their label, answered by accept or reject; ignored ones are skipped."
    )
    return Recognised(note, rows=_rows)


def _rows(answer: Record) -> Iterator[Row]:
    if "spans" in answer and "accept" not in answer and "label" not in answer:
        raise BadRecord("spans", "Only text classification is read, not spans.")
    verdict = answer.get("answer")
    row = {
        "item_id": answer.get("_input_hash"),
        "prompt": answer.get("text"),
        "annotator": answer.get("_annotator_id") or answer.get("_session_id"),
        "created_at": answer.get("_timestamp"),
    }
    if verdict == "ignore":
        return
    if "accept" in answer:
        label = only_one(listed(answer, "accept"), "accept") if verdict == "accept" else None
        if label is not None:
            yield {**row, "label": label}
    elif answer.get("label") is not None:
        yield {**row, "task": answer["label"], "label": verdict}
    else:
        raise BadRecord("label", "There is neither a choice in 'accept' nor a 'label' that was accepted or rejected.")
