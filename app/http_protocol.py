"""HTTP/1.1 by httptools, which parses several times faster than h11, with the limit to headers that it lacks."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    """Refuses who goes on sending without ever coming to the end of the headers, or of anything else that is parsed.

    Bytes count until the headers, a piece of the body or the message are complete. What arrived in one read is in
    memory already, so only what is incomplete after it is refused.
    """

    _incomplete = 0

    def data_received(self, data: bytes) -> None:
        self._incomplete += len(data)
        super().data_received(data)
        if self._incomplete > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The headers have more than {MAX_HEADER_BYTES:,} bytes.")

    def on_headers_complete(self) -> None:
        self._incomplete = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._incomplete = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._incomplete = 0
        super().on_message_complete()
