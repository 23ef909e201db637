"""Bytes as they arrive, decompressed when they are gzip, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from realm_core.formats.faults import BadData, TooLarge
from realm_core.formats.reading_options import Limits

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_PIECE = 1024**2
_MAX_RATIO = 200  # text of real crowds is below 50
_RATIO_MATTERS_FROM = 64 * 1024**2


def plain_bytes(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """The uncompressed bytes of a stream that may be gzip, told by its first two bytes. Raises BadData."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= len(GZIP_MAGIC):
            break
    whole = _chain(head, source)
    size = 0
    for piece in _gunzip(whole) if head.startswith(GZIP_MAGIC) else whole:
        size += len(piece)
        if size > limits.max_bytes:
            raise TooLarge("too_large", f"The data is larger than {limits.max_bytes:,} bytes uncompressed.")
        yield piece


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_FORMAT)
    size_in = size_out = 0
    for chunk in chunks:
        size_in += len(chunk)
        while chunk:
            if member.eof:
                if not chunk.strip(b"\0"):  # padding
                    break
                member = zlib.decompressobj(_GZIP_FORMAT)
            piece = _decompress(member, chunk)
            size_out += len(piece)
            if size_out > _RATIO_MATTERS_FROM and size_out > _MAX_RATIO * size_in:
                raise TooLarge("gzip_bomb", f"The gzip expands to more than {_MAX_RATIO} times its size.")
            yield piece
            chunk = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise BadData("truncated_gzip", "The gzip data ends too early: the file was cut short. Send it again whole.")


def _decompress(member: zlib._Decompress, chunk: bytes) -> bytes:
    try:
        return member.decompress(chunk, _PIECE)
    except zlib.error as error:
        raise BadData("invalid_gzip", f"The gzip data is damaged ({error}). Compress the file again.") from error


class ByteStream:
    """A stream that shows its unread bytes, at least `block_bytes` of them unless it ended, and skips what was read.

    The last record always ends in a newline, whether it was sent with one or not.
    """

    def __init__(self, chunks: Iterable[bytes], block_bytes: int) -> None:
        self._chunks = iter(chunks)
        self._block_bytes = block_bytes
        self._unread = b""
        self.ended = False

    def peek(self) -> bytes:
        parts, size = [self._unread], len(self._unread)
        while size < self._block_bytes and not self.ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.ended = True
                if size and not next(part for part in reversed(parts) if part).endswith(b"\n"):
                    parts.append(b"\n")
            else:
                parts.append(chunk)
                size += len(chunk)
        self._unread = b"".join(parts) if len(parts) > 1 else self._unread
        return self._unread

    def skip(self, n_bytes: int) -> None:
        self._unread = self._unread[n_bytes:]
