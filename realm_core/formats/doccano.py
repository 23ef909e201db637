"""doccano's JSONL of text classification: a list of labels on each line, or the annotations of older versions."""

from __future__ import annotations

from collections.abc import Iterator

from realm_core.formats.recognised import BadRecord, Recognised, Record, Row, listed, objects, only_one

_LABELS = ("label", "labels")
_MEMBERS = ("annotator", "user", "username", "annotation_approver")
_NOBODY = (
    "doccano exports a file for each member and does not say in it who that is; add an 'annotator' to each line, such "
    "as the name of the file that it comes from."
)


def recognise_record(first: Record) -> Recognised | None:
    if "text" not in first or isinstance(first.get("data"), dict) or "_task_hash" in first:
        return None
    if isinstance(first.get("annotations"), list):
        note = "Read as JSONL of doccano: annotators and labels are the numbers in its annotations."
        return Recognised(note, rows=_annotation_rows)
    if any(isinstance(first.get(key), list) for key in _LABELS):
        note = "Read as JSONL of doccano: the label is the only one in its list; lines without one are left out."
        return Recognised(note, rows=_label_rows)
    return None


def _annotation_rows(record: Record) -> Iterator[Row]:
    for annotation in objects(record, "annotations"):
        if "start_offset" in annotation:
            raise BadRecord("annotations", "Only text classification is read, not spans.")
        yield {
            "item_id": record.get("id"),
            "prompt": record.get("text"),
            "annotator": annotation.get("user"),
            "label": annotation.get("label"),
            "created_at": annotation.get("created_at"),
        }


def _label_rows(record: Record) -> Iterator[Row]:
    key = next((name for name in _LABELS if name in record), _LABELS[0])
    label = only_one(listed(record, key), key)
    if label is None:
        return
    member = next((record[name] for name in _MEMBERS if record.get(name) is not None), None)
    if member is None:
        raise BadRecord("annotator", _NOBODY)
    yield {"item_id": record.get("id"), "prompt": record.get("text"), "annotator": member, "label": label}
