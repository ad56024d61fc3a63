"""A TCP socket that moves to an address which overlaps with its own, on the same port."""

from __future__ import annotations

import errno
import socket

import pytest

from ldapmilter.config import MilterSettings
from ldapmilter.daemon.listener import CannotListen, Listener, listen
from ldapmilter.milter.socket_address import parse_socket
from tests.support.own_network import in_own_network
from tests.support.ports import free_port, wait_until

OVERLAPS = [
    ("inet:127.0.0.1:{}", "inet:0.0.0.0:{}"),
    ("inet:0.0.0.0:{}", "inet:127.0.0.1:{}"),
    ("inet:127.0.0.1:{}", "inet:localhost:{}"),
    ("inet:127.0.0.1:{}", "inet6:[::]:{}"),
    ("inet6:[::]:{}", "inet:127.0.0.1:{}"),
]


def tcp(place: str, port: int, replacing: Listener | None = None) -> Listener:
    address = parse_socket(place.format(port))
    return listen(MilterSettings(socket=address, socket_mode=0o600, socket_group="", workers=1), replacing)


@pytest.mark.parametrize(("before", "after"), OVERLAPS)
@in_own_network
def test_an_overlapping_address_takes_the_port_over_without_a_gap(before: str, after: str) -> None:
    port = free_port()
    old = tcp(before, port)
    with pytest.raises(CannotListen, match="in use"):
        tcp(after, port)  # who replaces nobody does not get in beside
    new = tcp(after, port, replacing=old)
    assert new.shares_port(old)
    for place in (before, after):
        with pytest.raises(CannotListen, match="in use"):
            tcp(place, port)
    with socket.create_connection(("127.0.0.1", port), 20):
        wait_until(lambda: accepts(old) or accepts(new), "the connection at one of them")
    old.shut()
    old.close()
    with socket.create_connection(("127.0.0.1", port), 20):
        wait_until(lambda: accepts(new), "the connection at the new one")
    with pytest.raises(CannotListen, match="in use"):
        tcp(after, port)
    new.close()


@in_own_network
def test_an_old_socket_that_turns_clients_away_serves_those_in_its_queue_and_loses_none() -> None:
    port = free_port()
    old = tcp("inet:127.0.0.1:{}", port)
    new = tcp("inet:0.0.0.0:{}", port, replacing=old)
    with socket.create_connection(("127.0.0.1", port), 20), socket.socket() as late:
        old.turn_away()
        late.setblocking(False)  # noqa: FBT003 - the standard library's signature
        assert late.connect_ex(("127.0.0.1", port)) == errno.EINPROGRESS
        wait_until(lambda: accepts(old), "the connection in the queue")
        assert not accepts(old)
        old.shut()
        old.close()
        wait_until(lambda: accepts(new), "the connection that was turned away")
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    new.close()


@in_own_network
def test_a_wider_address_that_cannot_be_had_leaves_the_old_one_as_it_was() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        old = tcp("inet:127.0.0.1:{}", port)
        with pytest.raises(CannotListen, match="in use"):
            tcp("inet:0.0.0.0:{}", port, replacing=old)
        assert old.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        with socket.create_connection(("127.0.0.1", port), 20):
            wait_until(lambda: accepts(old), "the connection")
        old.close()


def accepts(listener: Listener) -> bool:
    """Accept a connection; tell whether there was one."""
    try:
        listener.socket.accept()[0].close()
    except BlockingIOError:
        return False
    return True
