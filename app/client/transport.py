"""How the client talks HTTP: one connection, errors as exceptions, lists over all their pages."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

Json = dict[str, Any]
_PAUSES = (0.5, 2.0)  # before a request is tried again


class RequestFailed(Exception):
    """The service refused a request: problem+json as an exception."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.code: str = problem.get("code", "unknown")
        self.detail: str = problem.get("detail", "The service gave no reason.")
        self.errors: list[Json] = problem.get("errors", [])
        self.request_id: str | None = problem.get("request_id")
        super().__init__(f"{self.detail} ({status} {self.code})")


class ServiceUnreachable(Exception):
    """Nobody answers at the address, or the answer broke off."""


class Transport:
    """A connection to one service with one API key."""

    def __init__(self, base_url: str, api_key: str, timeout: float) -> None:
        self._base_url = base_url
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(timeout, connect=5.0),
            trust_env=not _is_this_machine(base_url),  # a proxy cannot reach the service of this machine
        )

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """One call, tried again where that is safe. Raises RequestFailed or ServiceUnreachable.

        A POST has an Idempotency-Key, the same in every try: what the service has done already it does not do twice.
        """
        if method == "POST":
            kwargs["headers"] = {"Idempotency-Key": uuid.uuid4().hex, **kwargs.get("headers", {})}
        for pause in _PAUSES if _may_be_sent_again(method, kwargs.get("content")) else ():
            answer = self._try(method, path, **kwargs)
            if not isinstance(answer, Exception):
                return answer
            time.sleep(pause)
        answer = self._try(method, path, **kwargs)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _try(self, method: str, path: str, **kwargs: Any) -> httpx.Response | RequestFailed | ServiceUnreachable:
        """The answer, or an error that may pass. Raises RequestFailed or ServiceUnreachable for one that does not."""
        try:
            with _translated_errors(self._base_url):
                response = self._http.request(method, path, **kwargs)
            _raise_for_problem(response)
        except RequestFailed as refused:
            if refused.status == 503 or refused.code == "idempotency_key_in_use":
                return refused
            raise
        except ServiceUnreachable as lost:
            if isinstance(lost.__cause__, httpx.ReadError | httpx.RemoteProtocolError):
                return lost
            raise
        return response

    def request_object(self, method: str, path: str, **kwargs: Any) -> Json:
        """A call whose answer is a JSON object."""
        answer: Json = self.request(method, path, **kwargs).json()
        return answer

    def stream_lines(self, path: str, headers: dict[str, str]) -> Iterator[str]:
        """The lines of an answer as they come."""
        with _translated_errors(self._base_url), self._http.stream("GET", path, headers=headers) as response:
            if response.is_error:
                response.read()
            _raise_for_problem(response)
            yield from response.iter_lines()

    def pages(self, path: str, query: Json) -> Iterator[Json]:
        """The objects of a list, over all its pages."""
        after: str | None = query.pop("after", None)
        while True:
            page = self.request("GET", path, params=given(query | {"after": after})).json()
            yield from page["data"]
            if not page["has_more"]:
                return
            after = page["last_id"]


class Resource:
    """A part of the API."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


def _may_be_sent_again(method: str, content: object) -> bool:
    """What is streamed can be sent once only; PUT and DELETE would find that their first try has changed things."""
    return method in ("GET", "POST") and (content is None or isinstance(content, bytes | str))


def segment(id_: str) -> str:
    """An id as one part of a path, whatever it holds."""
    return quote(id_, safe=":@")


def _raise_for_problem(response: httpx.Response) -> None:
    """Raises RequestFailed for an answer that is an error."""
    if not response.is_error:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": f"{response.reason_phrase} (not an answer of the REALM service)", "code": "not_a_problem"}
    raise RequestFailed(response.status_code, problem)


@contextmanager
def _translated_errors(base_url: str) -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError as error:
        raise ServiceUnreachable(f"Nothing answers at {base_url}.") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise ServiceUnreachable(f"The service at {base_url} did not answer: {reason}") from error


def given(values: Json) -> Json:
    """Without the values that are None."""
    return {name: value for name, value in values.items() if value is not None}


def _is_this_machine(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
