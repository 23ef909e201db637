"""Many clients at once, as light as can be: on the machine that is measured, the clients' work counts too.

Run as a process of its own (`python -m benchmarks.speed.http_load`), it reads what to ask from standard input as JSON
and prints what it measured. Each client has one connection, and sends its next request when it has its answer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """POST `bodies` in turn to `url`, or GET it where there are none; `clients` at a time, `requests` in all."""

    url: str
    bodies: Sequence[Any]
    clients: int
    requests: int
    api_key: str = ""


@dataclass(frozen=True)
class Seen:
    """How long it took in all, and each answer, in seconds."""

    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the answers came."""
        return sorted(self.latencies)[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def measure(load: Load) -> Seen:
    """Let a process of its own make the load. Raises CalledProcessError when an answer is not 200."""
    command = [sys.executable, "-m", "benchmarks.speed.http_load"]
    done = subprocess.run(command, input=json.dumps(asdict(load)), text=True, stdout=subprocess.PIPE, check=True)
    return Seen(**json.loads(done.stdout))


def main() -> None:
    load = Load(**json.load(sys.stdin))
    json.dump(asdict(asyncio.run(_run(load))), sys.stdout)


async def _run(load: Load) -> Seen:
    requests = _requests(load)
    latencies: list[float] = []
    shares = [load.requests // load.clients + (n < load.requests % load.clients) for n in range(load.clients)]
    url = urlsplit(load.url)
    started = time.perf_counter()
    await asyncio.gather(*(_client(url.hostname, url.port, requests, share, latencies) for share in shares))
    return Seen(time.perf_counter() - started, latencies)


def _requests(load: Load) -> Iterator[bytes]:
    url = urlsplit(load.url)
    path = url.path + (f"?{url.query}" if url.query else "")
    head = f"Host: {url.netloc}\r\n" + (f"Authorization: Bearer {load.api_key}\r\n" if load.api_key else "")
    if not load.bodies:
        return cycle([f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()])
    bodies = [json.dumps(body).encode() for body in load.bodies]
    head = f"POST {path} HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
    return cycle([f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies])


async def _client(host: str | None, port: int | None, requests: Iterator[bytes], n: int, seen: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for _ in range(n):
            request = next(requests)
            started = time.perf_counter()
            writer.write(request)
            await _read_answer(reader)
            seen.append(time.perf_counter() - started)
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    if " 200 " not in f"{status} ":
        raise RuntimeError(f"{status}: {body[:500].decode()}")


if __name__ == "__main__":
    main()
