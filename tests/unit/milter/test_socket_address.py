"""Sockets as they are written: Postfix's order, libmilter's order, and what is refused."""

from __future__ import annotations

import pytest

from ldapmilter.socket_address import SocketAddress, parse_socket

READABLE = [
    ("unix:/run/m.sock", "unix:/run/m.sock", "unix:/run/m.sock", "unix:/run/m.sock"),
    ("local:/run/m.sock", "unix:/run/m.sock", "unix:/run/m.sock", "unix:/run/m.sock"),
    ("inet:127.0.0.1:8800", "inet:127.0.0.1:8800", "inet:127.0.0.1:8800", "inet:8800@127.0.0.1"),
    ("inet:8800@127.0.0.1", "inet:127.0.0.1:8800", "inet:127.0.0.1:8800", "inet:8800@127.0.0.1"),
    ("inet:8800@[127.0.0.1]", "inet:127.0.0.1:8800", "inet:127.0.0.1:8800", "inet:8800@127.0.0.1"),
    ("inet:localhost:8800", "inet:localhost:8800", "inet:localhost:8800", "inet:8800@localhost"),
    (" INET:MTA-1.Example.test:8800 ", *("inet:mta-1.example.test:8800",) * 2, "inet:8800@mta-1.example.test"),
    ("inet:[::1]:8800", "inet:[::1]:8800", "inet:[::1]:8800", "inet6:8800@::1"),
    ("inet6:8800@::1", "inet:[::1]:8800", "inet:[::1]:8800", "inet6:8800@::1"),
    ("inet6:8800@[0:0::1]", "inet:[::1]:8800", "inet:[::1]:8800", "inet6:8800@::1"),
    ("inet:8800@::1", "inet:[::1]:8800", "inet:[::1]:8800", "inet6:8800@::1"),
    ("inet6:[::1]:8800", "inet:[::1]:8800", "inet:[::1]:8800", "inet6:8800@::1"),
    ("inet6:8800@mta", "inet6:8800@mta", "inet:mta:8800", "inet6:8800@mta"),
    ("inet:*:8800", "inet:0.0.0.0:8800", "inet:127.0.0.1:8800", "inet:8800@0.0.0.0"),
    ("inet:0.0.0.0:8800", "inet:0.0.0.0:8800", "inet:127.0.0.1:8800", "inet:8800@0.0.0.0"),
    ("inet6:8800@*", "inet:[::]:8800", "inet:[::1]:8800", "inet6:8800@::"),
    ("inet:127.0.0.1:1", "inet:127.0.0.1:1", "inet:127.0.0.1:1", "inet:1@127.0.0.1"),
    ("inet:127.0.0.1:65535", "inet:127.0.0.1:65535", "inet:127.0.0.1:65535", "inet:65535@127.0.0.1"),
]


@pytest.mark.parametrize(("text", "normal", "postfix", "libmilter"), READABLE)
def test_every_spelling_is_read_and_written_back(text: str, normal: str, postfix: str, libmilter: str) -> None:
    address = parse_socket(text)

    assert (str(address), address.postfix, address.libmilter) == (normal, postfix, libmilter)
    assert parse_socket(str(address)) == address
    assert parse_socket(address.libmilter) == address


def test_the_parts_of_a_socket() -> None:
    assert parse_socket("unix:/run/m.sock") == SocketAddress(kind="unix", path="/run/m.sock")
    assert parse_socket("inet:127.0.0.1:8800") == SocketAddress(kind="inet", host="127.0.0.1", port=8800)
    assert parse_socket("inet:[::1]:8800") == SocketAddress(kind="inet6", host="::1", port=8800)


def test_only_a_wildcard_is_one_and_it_is_reached_on_loopback() -> None:
    everywhere = parse_socket("inet:*:8800")

    assert everywhere.is_wildcard
    assert everywhere.peer_host == "127.0.0.1"
    assert parse_socket("inet6:8800@*").peer_host == "::1"
    assert not parse_socket("inet:127.0.0.1:8800").is_wildcard
    assert not parse_socket("unix:/run/m.sock").is_wildcard


REFUSED = [
    ("", "starts with none"),
    ("8800", "starts with none"),
    ("/run/m.sock", "starts with none"),
    ("tcp:127.0.0.1:8800", "starts with none"),
    ("inet", "starts with none"),
    ("unix:", "absolute"),
    ("unix:run/m.sock", "absolute"),
    ("unix:/run/", "not a file name"),
    ("unix:/run/\0", "not a file name"),
    ("unix:/" + "x" * 107, "107 bytes"),
    ("inet:8800", "write inet:127.0.0.1:8800 for this machine or inet:*:8800 for every interface"),
    ("inet:", "every interface"),
    ("inet:8800:127.0.0.1", "write inet:127.0.0.1:8800 or inet:8800@127.0.0.1"),
    ("inet:8800:localhost", "looks like a port"),
    ("inet::8800", "host is empty"),
    ("inet:8800@", "host is empty"),
    ("inet:127.0.0.1:", "not a port"),
    ("inet:127.0.0.1:0", "not a port"),
    ("inet:127.0.0.1:65536", "not a port"),
    ("inet:127.0.0.1:99999999999", "not a port"),
    ("inet:127.0.0.1:-1", "not a port"),
    ("inet:127.0.0.1:smtp", "not a port"),
    ("inet:127.0.0.1:\u0661", "not a port"),
    ("inet:127.0.0.1@8800", "not a port"),
    ("inet:::1:8800", "brackets: inet:[::1]:8800"),
    ("inet:[::g]:8800", "not an IPv6 address"),
    ("inet:127.0.0:8800", "not an IPv4 address"),
    ("inet:256.0.0.1:8800", "not an IPv4 address"),
    ("inet6:8800@127.0.0.1", "not an IPv6 address"),
    ("inet:a b:8800", "not a host name"),
    ("inet:-a:8800", "not a host name"),
    ("inet:[localhost:8800", "not a host name"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_is_no_socket_is_refused_with_the_reason_and_the_way_out(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="is not a milter socket") as caught:
        parse_socket(text)

    assert reason in str(caught.value)
    assert "allowed is unix:/path, inet:host:port" in str(caught.value)
