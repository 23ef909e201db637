"""Where the service may send on a user's behalf: public addresses, checked when the connection is made.

A name is looked up once and the address that was checked is the one connected to, so that a name which answers
differently the next time (DNS rebinding) leads nowhere else.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, urlsplit

import httpcore

MAX_URL_LENGTH = 2000
_FIRST_FREE_PORT = 1024  # the ports below belong to other protocols than HTTP
_HTTP_PORTS = frozenset({80, 443})
# Reserved for machines that serve their own network, though `ipaddress` may call them global.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carriers' own networks, Alibaba's metadata
        "168.63.129.16/32",  # Azure's own services, in every virtual machine
        "192.0.0.0/24",
        "192.88.99.0/24",  # relays into IPv6
        "2002::/16",  # IPv6 that stands for an IPv4 address, as do the next two
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "fec0::/10",
    )
)

Resolve = Callable[[str, int], list[str]]


class Refused(Exception):
    """The service does not send there; the message says why."""


def check_url(url: str, *, private_allowed: bool) -> SplitResult:
    """The parts of a URL that may be sent to, as far as can be told without looking up its name. Raises Refused."""
    if len(url) > MAX_URL_LENGTH or any(not "!" <= character <= "~" or character == "\\" for character in url):
        raise Refused(f"The URL must be up to {MAX_URL_LENGTH} printable ASCII characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"This is not a URL: {error}.") from None
    if parts.scheme != "https" and not (private_allowed and parts.scheme == "http"):
        raise Refused("The URL must begin with https://.")
    if parts.username is not None or parts.password is not None or parts.fragment or "#" in url:
        raise Refused("The URL must have no user, password or fragment.")
    if not host or "%" in host:
        raise Refused("The URL must name a host.")
    if private_allowed:
        return parts
    if port is not None and port not in _HTTP_PORTS and port < _FIRST_FREE_PORT:
        raise Refused(f"Port {port} is not one of HTTP.")
    literal = _literal(host)
    if literal is not None and not is_public(literal):
        raise Refused("The address is private, local or reserved.")
    return parts


def _literal(host: str) -> str | None:
    """The address that a host is by itself, spelled in any of the ways that a system understands; None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 2130706433, 0x7f.1, 017700000001
    except OSError:
        return None


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet rather than to this machine or to a network around it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip.version == network.version and ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local)


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of the name is too long
        raise OSError(f"There is no host {host[:100]!r}.") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to public addresses only, and gives up on everything after `seconds`, however slowly it goes on."""

    def __init__(self, *, private_allowed: bool, seconds: float, resolve: Resolve = look_up) -> None:
        self._private_allowed = private_allowed
        self._end = time.monotonic() + seconds
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that answers. Raises Refused when any address is not public."""
        addresses = self._resolve(host, port)
        if not self._private_allowed and not all(is_public(address) for address in addresses):
            raise Refused("The host has an address that is private, local or reserved.")
        failure: Exception = httpcore.ConnectError(f"The host {host!r} has no address.")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(address, port, seconds_left(self._end))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _StreamWithEnd(stream, self._end)
        raise failure


class _StreamWithEnd(httpcore.NetworkStream):
    """A connection all of whose steps together must be done at a moment."""

    def __init__(self, stream: httpcore.NetworkStream, end: float) -> None:
        self._stream = stream
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, seconds_left(self._end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, seconds_left(self._end))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, seconds_left(self._end))
        return _StreamWithEnd(stream, self._end)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def seconds_left(end: float) -> float:
    """Until a moment of time.monotonic(). Raises httpcore.TimeoutException when it is over."""
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.TimeoutException("It took too long.")
    return left
