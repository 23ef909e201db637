"""What a request asks: read from its body, each input by itself, so that a bad one leaves the others alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.database import model_queries
from app.database.recent import Recent
from app.database.session import transaction
from app.errors import BadRequest, PayloadTooLarge, Unprocessable
from app.inference import service
from app.inference.schemas import InputFault, PredictItem, PredictOptions, PredictRequest
from app.settings import get_settings
from realm_core.formats.faults import is_unicode

MAX_LINE_BYTES = 1024**2
LINES_PER_WINDOW = 256

_ANNOTATOR_ID = re.compile(r"ann_[1-9][0-9]{0,8}")

Item = PredictItem | InputFault
_FILES: Recent[tuple[str, str], tuple[str, int]] = Recent()  # of models, by project and id or alias


@dataclass(frozen=True)
class Question:
    """What is asked of which model. `annotator` is an ann_…, `n_bytes` the size of the model's files."""

    artifact: str
    n_bytes: int
    annotator: str | None
    truncate: bool
    top_k: int | None
    items: list[Item]
    single: bool


@dataclass(frozen=True)
class Body:
    """What a JSON body asks, before it is known of which model."""

    options: PredictOptions
    items: list[Item]
    single: bool


def read_body(body: bytes) -> Body:
    """A JSON body. Raises BadRequest, PayloadTooLarge, Unprocessable."""
    try:
        request = PredictRequest.model_validate(json.loads(body))
    except ValidationError as error:
        field, message = _first_fault(error)
        raise Unprocessable(f"{field}: {message}", code="invalid_request", param=field) from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}", code="invalid_json") from error
    single = not isinstance(request.inputs, list)
    inputs: list[Any] = request.inputs if isinstance(request.inputs, list) else [request.inputs]
    limit = get_settings().max_predict_inputs
    if len(inputs) > limit:
        detail = f"{len(inputs):,} inputs; one request may have {limit:,}. Send them as application/x-ndjson."
        raise PayloadTooLarge(detail, code="too_many_inputs", param="inputs")
    return Body(request, [read_item(one) for one in inputs], single)


async def look_up(project_id: str, model_id: str, asked: Body) -> Question:
    """Find the model, in a transaction that is over before it answers: the database does not wait for models.

    Raises NotFound, Unprocessable.
    """
    files, annotator = _FILES.get((project_id, model_id)), asked.options.annotator
    if files is None:
        files = await run_in_threadpool(_find_files, project_id, model_id)
    if annotator is not None and not _ANNOTATOR_ID.fullmatch(annotator):
        annotator = await run_in_threadpool(_id_of, project_id, annotator)
    artifact, n_bytes = files
    parameters = asked.options.parameters
    return Question(
        artifact=artifact,
        n_bytes=n_bytes,
        annotator=annotator,
        truncate=parameters.truncation == "right",
        top_k=parameters.top_k,
        items=asked.items,
        single=asked.single,
    )


def _find_files(project_id: str, model_id: str) -> tuple[str, int]:
    def find() -> tuple[str, int]:
        with transaction() as session:
            return service.find_files(session, project_id, model_id)

    files = _FILES.look_up((project_id, model_id), find)
    assert files is not None  # `find` raises NotFound
    return files


def _id_of(project_id: str, name: str) -> str:
    """What models call an annotator. Raises Unprocessable."""
    storable = "\0" not in name and is_unicode(name)
    with transaction() as session:
        found = model_queries.find_annotator(session, project_id, name) if storable else None
    if found is None:
        raise Unprocessable(f"There is no annotator {name[:60]!r}.", code="unknown_annotator", param="annotator")
    return f"ann_{found}"


def read_item(raw: object) -> Item:
    """One input, or what is wrong with it."""
    if not isinstance(raw, str | dict):
        return InputFault(code="invalid_input", message="An input is a text or an object {prompt, task, options}.")
    try:
        return PredictItem.model_validate({"prompt": raw} if isinstance(raw, str) else raw)
    except ValidationError as error:
        field, message = _first_fault(error)
        return InputFault(code="invalid_input", message=f"{field}: {message}")


def _first_fault(error: ValidationError) -> tuple[str, str]:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(map(str, fault["loc"])) or "body", fault["msg"]


def read_windows(body: IO[bytes]) -> Iterator[list[Item]]:
    """The inputs of an NDJSON body, one per line that is not blank, so many at a time."""
    window: list[Item] = []
    while line := body.readline(MAX_LINE_BYTES + 1):
        if line.strip():
            window.append(_read_line(line, body))
        if len(window) == LINES_PER_WINDOW:
            yield window
            window = []
    if window:
        yield window


def _read_line(line: bytes, body: IO[bytes]) -> Item:
    if len(line) > MAX_LINE_BYTES:
        while line and not line.endswith(b"\n"):
            line = body.readline(MAX_LINE_BYTES)
        return InputFault(code="invalid_input", message=f"The line has more than {MAX_LINE_BYTES:,} bytes.")
    try:
        return read_item(json.loads(line))
    except (ValueError, RecursionError) as error:
        return InputFault(code="invalid_json", message=f"The line is not JSON: {error}")
