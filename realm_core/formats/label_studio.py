"""Label Studio's exports: JSON (a task with its annotations), and CSV, TSV and JSON-MIN (a row for each annotation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from realm_core.formats.recognised import BadRecord, Recognised, Record, Row, objects, only_one, text_of

_EACH_ANNOTATION_HAS = {"annotation_id", "annotator", "lead_time"}
_ABOUT_THE_ANNOTATION = _EACH_ANNOTATION_HAS | {"id", "created_at", "updated_at"}


def recognise_columns(found: Sequence[str]) -> Recognised | None:
    """The table has the data's text and a column named after the question, beside what is known of the annotation."""
    questions = set(found) - _ABOUT_THE_ANNOTATION - {"text"}
    if not set(found) >= _EACH_ANNOTATION_HAS | {"text"} or len(questions) != 1:
        return None
    question = questions.pop()
    items = {"id": "item_id"} if "id" in found else {}
    note = f"Read as a table of Label Studio: the label is in {question!r}, the prompt in 'text', the item_id in 'id'."
    return Recognised(note, mapping={question: "label", "text": "prompt", **items})


def recognise_record(first: Record) -> Recognised | None:
    if not isinstance(first.get("data"), dict) or not isinstance(first.get("annotations"), list):
        return None
    note = (
        "Read as a JSON export of Label Studio: a label for each choice of each annotation that was not cancelled, "
        "tasks named after their questions; ground truth is gold."
    )
    return Recognised(note, rows=_rows)


def _rows(task: Record) -> Iterator[Row]:
    data, annotations = task.get("data"), objects(task, "annotations")
    if not isinstance(data, dict):
        raise BadRecord("data", "'data' must be an object.")
    prompt = text_of(data, "data")
    gold = {
        question: label
        for annotation in annotations
        if annotation.get("ground_truth") is True
        for question, label in _choices(annotation)
    }
    for annotation in annotations:
        if annotation.get("was_cancelled") is True:
            continue
        for question, label in _choices(annotation):
            yield {
                "item_id": task.get("id"),
                "prompt": prompt,
                "task": question,
                "annotator": _annotator(annotation),
                "label": label,
                "gold": gold.get(question),
                "created_at": annotation.get("created_at"),
                "duration_ms": _milliseconds(annotation.get("lead_time")),
            }


def _choices(annotation: Record) -> Iterator[tuple[str, str]]:
    """The questions that an annotation answers with one choice or a rating."""
    for result in objects(annotation, "result"):
        value = result.get("value")
        if not isinstance(value, dict):
            continue
        answers = value.get("choices", [value["rating"]] if "rating" in value else None)
        if isinstance(answers, list) and (label := only_one(answers, "result")) is not None:
            yield str(result.get("from_name", "label")), label


def _annotator(annotation: Record) -> str | None:
    """Who labelled: an id, or with the export of users an object, whose e-mail address is what people know."""
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    return None if who is None else str(who)


def _milliseconds(seconds: object) -> str | None:
    try:
        return None if seconds is None else str(round(1000 * float(str(seconds))))
    except (ValueError, OverflowError):
        raise BadRecord("lead_time", "'lead_time' must be a number of seconds.") from None
