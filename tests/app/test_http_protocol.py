"""Who sends headers without end is refused; bodies may be as long as they like."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from app.http_protocol import MAX_HEADER_BYTES, BoundedHttp


async def _echo_size(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(_echo_size, http=BoundedHttp, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()
    listening.close()


def answer(port: int, *pieces: bytes) -> bytes:
    """What comes back, when the pieces are sent for as long as the server takes them."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received


ENDLESS = [b"x" * 1024] * (64 * MAX_HEADER_BYTES // 1024)


@pytest.mark.parametrize(
    "beginning",
    [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;"],
)
def test_what_never_ends_is_refused(port: int, beginning: bytes) -> None:
    received = answer(port, beginning, *ENDLESS)
    assert not received or received.startswith(b"HTTP/1.1 400 ")


def test_many_headers_are_too_many_too(port: int) -> None:
    received = answer(port, b"GET / HTTP/1.1\r\nHost: a\r\n", *[b"X-A: " + b"b" * 1000 + b"\r\n"] * 4000)
    assert not received or received.startswith(b"HTTP/1.1 400 ")


def test_a_long_body_arrives(port: int) -> None:
    n = 40 * MAX_HEADER_BYTES
    head = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {n}\r\n\r\n".encode()
    received = answer(port, head, *[b"x" * 4096] * (n // 4096))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(str(n).encode())


def test_a_connection_is_used_again(port: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"y" * 8000 + b"\r\n\r\n"
    last = request.replace(b"Host: a", b"Host: a\r\nConnection: close")
    received = answer(port, *[request] * 20, last)
    assert received.count(b"HTTP/1.1 200 ") == 21
