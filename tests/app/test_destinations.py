"""Where webhooks may go: every way to spell an address that is not the internet's is refused."""

from __future__ import annotations

import socket
import threading
import time

import httpcore
import pytest

from app.destinations import CheckedNetwork, Refused, check_url, is_public

# Each with the address that its name would have; None where the host is an address by itself.
REFUSED = [
    # this machine
    ("https://127.0.0.1/", None),
    ("https://127.1/", None),
    ("https://127.0.1/", None),
    ("https://127.255.255.254/", None),
    ("https://2130706433/", None),
    ("https://0x7f000001/", None),
    ("https://0x7f.0.0.1/", None),
    ("https://0X7F.1/", None),
    ("https://0177.0.0.1/", None),
    ("https://017700000001/", None),
    ("https://0.0.0.0/", None),
    ("https://0/", None),
    ("https://[::1]/", None),
    ("https://[::]/", None),
    ("https://[0:0:0:0:0:0:0:1]/", None),
    ("https://[::ffff:127.0.0.1]/", None),
    ("https://[::ffff:7f00:1]/", None),
    ("https://[::127.0.0.1]/", None),
    ("https://[64:ff9b::7f00:1]/", None),
    ("https://[2002:7f00:1::]/", None),
    ("https://localhost/", "127.0.0.1"),
    ("https://localhost./", "127.0.0.1"),
    ("https://ip6-localhost/", "::1"),
    ("https://127.0.0.1.nip.io/", "127.0.0.1"),
    ("https://7f000001.nip.io/", "127.0.0.1"),
    ("https://localtest.me/", "127.0.0.1"),
    ("https://rebound.example.org/", "::ffff:127.0.0.1"),
    # networks around it
    ("https://10.0.0.1/", None),
    ("https://167772161/", None),
    ("https://10.1/", None),
    ("https://012.0.0.1/", None),
    ("https://172.16.0.1/", None),
    ("https://172.31.255.255/", None),
    ("https://192.168.1.1:8443/", None),
    ("https://192.168.257/", None),
    ("https://[::ffff:10.0.0.1]/", None),
    ("https://[fc00::1]/", None),
    ("https://[fd12:3456::1]/", None),
    ("https://[fe80::1]/", None),
    ("https://[fec0::1]/", None),
    ("https://100.64.0.1/", None),
    ("https://intranet.example.org/", "10.20.30.40"),
    ("https://ten.example.org/", "fd00::5"),
    # what clouds tell their machines
    ("https://169.254.169.254/latest/meta-data/", None),
    ("https://2852039166/", None),
    ("https://0xa9fea9fe/", None),
    ("https://0251.0376.0251.0376/", None),
    ("https://[::ffff:a9fe:a9fe]/", None),
    ("https://[fd00:ec2::254]/", None),
    ("https://100.100.100.200/", None),
    ("https://168.63.129.16/", None),
    ("https://metadata.google.internal/", "169.254.169.254"),
    ("https://169.254.169.254.nip.io/", "169.254.169.254"),
    # nobody's
    ("https://192.0.2.1/", None),
    ("https://198.18.0.1/", None),
    ("https://224.0.0.1/", None),
    ("https://240.0.0.1/", None),
    ("https://255.255.255.255/", None),
    ("https://[ff02::1]/", None),
    ("https://[2001:db8::1]/", None),
    ("https://[100::1]/", None),
    # no https, no host, or more than one way to read it
    ("http://example.org/", None),
    ("ftp://example.org/", None),
    ("file:///etc/passwd", None),
    ("gopher://example.org/", None),
    ("//example.org/", None),
    ("https:///path", None),
    ("https://", None),
    ("https://user@example.org/", None),
    ("https://example.org:secret@127.0.0.1/", None),
    ("https://example.org#@127.0.0.1/", None),
    ("https://example.org\\@127.0.0.1/", None),
    ("https://example.org /", None),
    ("https://example.org/\r\nX-Evil: 1", None),
    ("https://ex\u0430mple.org/", None),
    ("https://\u2460\u2461\u2466.0.0.1/", None),
    ("https://127%2e0.0.1/", None),
    ("https://[fe80::1%25eth0]/", None),
    ("https://[::1/", None),
    ("https://example.org:99999/", None),
    ("https://example.org:22/", None),
    ("https://example.org:25/", None),
    ("https://example.org/" + "x" * 2000, None),
]


@pytest.mark.parametrize(("url", "address"), REFUSED)
def test_private_local_and_reserved_addresses_are_refused(url: str, address: str | None) -> None:
    """By the URL alone, or, for a name, by what it stands for when the connection is made."""
    if address is None:
        with pytest.raises(Refused):
            check_url(url, private_allowed=False)
        return
    parts = check_url(url, private_allowed=False)
    network = CheckedNetwork(private_allowed=False, seconds=1, resolve=lambda *_: [address])
    with pytest.raises(Refused):
        network.connect_tcp(parts.hostname or "", parts.port or 443)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/hook?token=1", "example.org"),
        ("https://example.org:8443/", "example.org"),
        ("https://93.184.215.14/", "93.184.215.14"),
        ("https://[2606:2800:21f:cb07::1]/", "2606:2800:21f:cb07::1"),
    ],
)
def test_public_ones_are_not(url: str, host: str) -> None:
    assert check_url(url, private_allowed=False).hostname == host


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "::ffff:8.8.8.8", "2606:4700::1111", "11.0.0.1"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


def test_one_private_address_among_public_ones_is_enough() -> None:
    network = CheckedNetwork(private_allowed=False, seconds=1, resolve=lambda *_: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Refused, match="private, local or reserved"):
        network.connect_tcp("example.org", 443)


def test_the_checked_address_is_the_one_connected_to() -> None:
    """A name that would answer differently the second time is asked once only."""
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with socket.create_server(("127.0.0.1", 0)) as server:
        network = CheckedNetwork(private_allowed=True, seconds=5, resolve=resolve)
        stream = network.connect_tcp("rebinding.invalid", server.getsockname()[1])  # a name that cannot be looked up
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        stream.close()
    assert asked == ["rebinding.invalid"]


def test_a_receiver_that_trickles_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def trickle() -> None:
            connection, _ = server.accept()
            with connection:
                while not over.is_set():
                    connection.send(b"x")
                    time.sleep(0.05)

        thread = threading.Thread(target=trickle)
        thread.start()
        network = CheckedNetwork(private_allowed=True, seconds=0.4)
        stream = network.connect_tcp("127.0.0.1", server.getsockname()[1])
        with pytest.raises(httpcore.TimeoutException):
            all(stream.read(1) for _ in range(1000))
        over.set()
        thread.join()
        stream.close()
