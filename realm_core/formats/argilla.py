"""Argilla's records as to_json, to_dict and to_datasets write them: nested, or flat with QUESTION.responses."""

from __future__ import annotations

from collections.abc import Iterator

from realm_core.formats.recognised import BadRecord, Recognised, Record, Row, listed, objects, text_of

_ANSWERS, _USERS, _STATUS = ".responses", ".responses.users", ".responses.status"
_ABOUT_THE_RECORD = {"id", "_server_id", "status", "external_id"}


def recognise_record(first: Record) -> Recognised | None:
    note = "Read as records of Argilla: a label for each submitted response of each user, tasks named after questions."
    if isinstance(first.get("fields"), dict) and isinstance(first.get("responses"), dict):
        return Recognised(note, rows=_nested_rows)
    if any(key.endswith(_USERS) for key in first):
        return Recognised(note, rows=_flat_rows)
    return None


def _nested_rows(record: Record) -> Iterator[Row]:
    fields, responses = record.get("fields"), record.get("responses")
    if not isinstance(fields, dict) or not isinstance(responses, dict):
        raise BadRecord("fields", "'fields' and 'responses' must be objects.")
    prompt = text_of(fields, "fields")
    for question in responses:
        for response in objects(responses, question):
            if response.get("status", "submitted") == "submitted":
                yield _row(record, prompt, question, response.get("user_id"), response.get("value"))


def _flat_rows(record: Record) -> Iterator[Row]:
    fields = {name: value for name, value in record.items() if name not in _ABOUT_THE_RECORD and "." not in name}
    prompt = text_of(fields, "text")
    for question in (key.removesuffix(_USERS) for key in record if key.endswith(_USERS)):
        answers, users = listed(record, question + _ANSWERS), listed(record, question + _USERS)
        status = listed(record, question + _STATUS) or ["submitted"] * len(users)
        if not len(answers) == len(users) == len(status):
            raise BadRecord(question + _ANSWERS, "There must be one user and one status for each response.")
        for user, answer, state in zip(users, answers, status, strict=True):
            if state == "submitted":
                yield _row(record, prompt, question, user, answer)


def _row(record: Record, prompt: str, question: str, user: object, answer: object) -> Row:
    if not isinstance(answer, str):
        raise BadRecord(question, "Only questions with one label or rating as their answer are read.")
    item_id = record.get("id") or record.get("_server_id")
    return {"item_id": item_id, "prompt": prompt, "task": question, "annotator": user, "label": answer}
