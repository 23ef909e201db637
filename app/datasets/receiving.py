"""Bodies of uploads: read from the network by the event loop, parsed and stored by a thread, at the pace of the slower.

CSV, TSV and JSONL are parsed while they arrive. Parquet and forms are written to a temporary file first, JSON is held
in memory and must be small.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from app.datasets.schemas import AppendParameters, AppendQuery
from app.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from realm_core.formats.compression import plain_bytes
from realm_core.formats.faults import Faults
from realm_core.formats.files import open_stream
from realm_core.formats.json_lines import JsonRows, parse_json
from realm_core.formats.parquet import open_parquet
from realm_core.formats.reader import AnnotationFile
from realm_core.formats.reading_options import Limits, ReadingOptions

T = TypeVar("T")
P = TypeVar("P", bound=AppendParameters)
M = TypeVar("M", bound=BaseModel)
Kind = Literal["csv", "tsv", "jsonl", "parquet", "json"]

MEDIA_TYPES: dict[str, Kind] = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/vnd.apache.parquet": "parquet",
    "application/json": "json",
}
FORM = "multipart/form-data"
_SUFFIXES: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".json": "json",
}
_PIECE_BYTES = 1024**2
_PIECES_AHEAD = 4
_SECONDS_OF_SILENCE = 60
_MAX_JSON_BYTES = 64 * 1024**2
_AT_ONCE = anyio.CapacityLimiter(4)  # each holds a database connection for as long as its client takes to send


@dataclass(frozen=True)
class Upload(Generic[P]):
    """What somebody sent: how it is to be read, and the file, which may still be on its way."""

    parameters: P
    open: Callable[[ReadingOptions, Faults], AnnotationFile]
    form_file: UploadFile | None = None  # where it came as the file of a form


@dataclass(frozen=True)
class Receiver(Generic[P]):
    """Takes bodies of every kind. The parameters stand in the query, in the parts of a form or in a JSON body."""

    query_type: type[AppendQuery]
    parameters_type: type[P]

    async def receive(self, request: Request, query: AppendQuery, limits: Limits, store: Callable[[Upload[P]], T]) -> T:
        """What `store` makes of the body, in a thread that may wait for it. Raises RealmError, BadData."""
        kind = media_type(request)
        if kind == FORM:
            return await self.receive_form(request, query, limits, store)
        read = partial(self._read, _kind(kind), given=_given(query), limits=limits, store=store)
        return await _with_body(request, read)

    async def receive_form(
        self, request: Request, query: AppendQuery, limits: Limits, store: Callable[[Upload[P]], T]
    ) -> T:
        """The same of a form alone. Raises RealmError, BadData."""
        if media_type(request) != FORM:
            raise UnsupportedMediaType(f"Send a form, {FORM}, with the parts 'file' and 'purpose'.")
        async with request.form(max_files=1, max_fields=len(self.query_type.model_fields)) as form:
            file, given = self._parts(form, query)
            return await self.receive_file(file, given, limits, store)

    async def receive_file(
        self, file: UploadFile, given: dict[str, Any], limits: Limits, store: Callable[[Upload[P]], T]
    ) -> T:
        """The same of a file that has arrived. Raises RealmError, BadData."""

        def store_form(upload: Upload[P]) -> T:
            return store(replace(upload, form_file=file))

        read = partial(self._read, _kind_of_part(file), given=given, limits=limits, store=store_form)
        return await anyio.to_thread.run_sync(read, _pieces(file), limiter=_AT_ONCE)

    def _parts(self, form: FormData, query: AppendQuery) -> tuple[UploadFile, dict[str, Any]]:
        file = file_of(form)
        parts = {name: value for name, value in form.multi_items() if name != "file"}
        return file, _given(query) | _given(_validated(self.query_type, parts))

    def _read(
        self,
        kind: Kind,
        body: Iterator[bytes],
        *,
        given: dict[str, Any],
        limits: Limits,
        store: Callable[[Upload[P]], T],
    ) -> T:
        if kind == "json":
            parameters = _validated(self.parameters_type, given | _json_object(body, limits))
            return store(Upload(parameters, partial(JsonRows, parameters.annotations)))
        parameters = _validated(self.parameters_type, given)
        if kind != "parquet":
            return store(Upload(parameters, partial(open_stream, body, kind)))
        with tempfile.NamedTemporaryFile(prefix="realm-upload-", suffix=".parquet") as file:
            file.writelines(plain_bytes(body, limits))
            file.flush()
            path = Path(file.name)
            return store(Upload(parameters, lambda options, faults: open_parquet(path, options, faults)))


def file_of(form: FormData) -> UploadFile:
    """The file of a form. Raises BadRequest."""
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise BadRequest("The form needs a part 'file' that has a file name.", param="file")
    return file


def media_type(request: Request) -> str:
    """What the body is said to be, without its parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _given(query: AppendQuery) -> dict[str, Any]:
    return query.model_dump(exclude_unset=True)


def _validated(kind: type[M], given: dict[str, Any]) -> M:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from None


def _kind(media_type: str) -> Kind:
    if media_type not in MEDIA_TYPES:
        known = ", ".join([*MEDIA_TYPES, FORM])
        raise UnsupportedMediaType(
            f"The Content-Type {media_type or '(none)'!r} is not read here; send one of {known}."
        )
    return MEDIA_TYPES[media_type]


def _kind_of_part(file: UploadFile) -> Kind:
    """The kind of a form's file: by the suffix of its name, since browsers guess the type from that too."""
    suffix = Path((file.filename or "").removesuffix(".gz")).suffix.lower()
    return _SUFFIXES[suffix] if suffix in _SUFFIXES else _kind((file.content_type or "").lower())


def _pieces(file: UploadFile) -> Iterator[bytes]:
    return iter(partial(file.file.read, _PIECE_BYTES), b"")


def _json_object(body: Iterator[bytes], limits: Limits) -> dict[str, Any]:
    """A JSON body; a bare list is the annotations."""
    data = bytearray()
    for piece in plain_bytes(body, limits):
        data += piece
        if len(data) > _MAX_JSON_BYTES:
            detail = f"A JSON body may have {_MAX_JSON_BYTES:,} bytes; send more as CSV, JSONL or Parquet."
            raise PayloadTooLarge(detail)
    try:
        value = parse_json(bytes(data))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if isinstance(value, list):
        return {"annotations": value}
    if not isinstance(value, dict):
        raise BadRequest('The body must be a JSON object: {"annotations": [{…}, …]}.', code="invalid_json")
    return value


async def _with_body(request: Request, work: Callable[[Iterator[bytes]], T]) -> T:
    """What `work` makes of the request's body, in a thread that gets it piece by piece.

    The body is read a little ahead of the thread and no further, so that a slow one slows the client down.
    """
    send, receive = anyio.create_memory_object_stream[bytes | Exception](_PIECES_AHEAD)
    reading = asyncio.create_task(_read_ahead(request, send))
    try:
        return await anyio.to_thread.run_sync(work, _received(receive, current_token()), limiter=_AT_ONCE)
    finally:
        reading.cancel()
        receive.close()


async def _read_ahead(request: Request, send: MemoryObjectSendStream[bytes | Exception]) -> None:
    """Pass the body on in large pieces, and what goes wrong with it too, to be raised where the body is read."""
    with send:
        try:
            async for piece in _large_pieces(request):
                await send.send(piece)
        except anyio.BrokenResourceError:
            return
        except Exception as error:
            with suppress(anyio.BrokenResourceError):
                await send.send(error)


async def _large_pieces(request: Request) -> AsyncIterator[bytes]:
    piece = bytearray()
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SECONDS_OF_SILENCE):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise BadRequest(f"No data came for {_SECONDS_OF_SILENCE} seconds.", code="upload_stalled") from None
        except ClientDisconnect:
            raise BadRequest("The client went away.", code="client_disconnected") from None
        if chunk is None:
            break
        piece += chunk
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _received(receive: MemoryObjectReceiveStream[bytes | Exception], loop: EventLoopToken) -> Iterator[bytes]:
    """The pieces of the body, in whatever thread reads it."""
    while True:
        try:
            piece = anyio.from_thread.run(receive.receive, token=loop)
        except anyio.EndOfStream:
            return
        if isinstance(piece, Exception):
            raise piece
        yield piece
