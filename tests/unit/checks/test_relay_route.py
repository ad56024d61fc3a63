"""Every finding about the way of copies to the relay and on, from a configuration that postconf(1) itself reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.checks.scene import codes
from tests.unit.checks.test_postfix import MASTER, REST, report_on

if TYPE_CHECKING:
    from pathlib import Path

UNIX = "unix:/run/ldapmilter/relay.sock"
RETRY = "retry:4.4.0 copy relay not routed"
LMTP = (*REST, "lmtp unix - - n - - lmtp")
CHROOTED = (*REST, "lmtp unix - - y - - lmtp", "copies unix - - n - - lmtp -o lmtp_tls_security_level=may")


def found(
    directory: Path,
    route: str | None = f"lmtp:{UNIX}",
    *,
    main: dict[str, str] | None = None,
    rest: tuple[str, ...] = LMTP,
    last: str | None = RETRY,
    options: dict[str, dict[str, str]] | None = None,
    **relay: str,
) -> list[str]:
    tables = []
    for name, value in (("first", route), ("last", last)):
        if value is not None:
            (directory / name).write_text(f"copies.invalid {value}\n", encoding="ascii")
            tables.append(f"texthash:{directory}/{name}")
    settings = {"listen": UNIX, "next_hop": "smtp:[archive.example.test]:25", **relay}
    return [
        code
        for code in codes(
            report_on(
                directory,
                {"transport_maps": " ".join(tables), **(main or {})},
                MASTER,
                {"relay": settings, **(options or {})},
                rest,
            )
        )
        if code.startswith("relay-")
    ]


def test_a_way_that_is_in_order(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_without_a_relay_nothing_is_looked_for(tmp_path: Path) -> None:
    assert found(tmp_path, None, last=None, listen="") == []


@pytest.mark.parametrize("route", [None, "lmtp:inet:127.0.0.1:24"])
def test_no_way(tmp_path: Path, route: str | None) -> None:
    assert found(tmp_path, route) == ["relay-not-routed"]


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    tables = f"texthash:{tmp_path}/none texthash:{tmp_path}/first"
    assert found(tmp_path, main={"transport_maps": tables}) == ["relay-route-unknown"]


def test_nothing_keeps_the_copies(tmp_path: Path) -> None:
    assert found(tmp_path, last=None) == ["relay-no-last-table"]


def test_a_client_in_a_chroot(tmp_path: Path) -> None:
    assert found(tmp_path, rest=CHROOTED) == ["relay-chroot"]


def test_a_client_in_a_chroot_where_the_socket_lies_below_the_queue(tmp_path: Path) -> None:
    listen = "unix:/var/spool/postfix/ldapmilter/relay.sock"
    assert found(tmp_path, "lmtp:unix:/ldapmilter/relay.sock", rest=CHROOTED, listen=listen) == []


def test_a_path_that_only_a_chroot_would_find(tmp_path: Path) -> None:
    listen = "unix:/var/spool/postfix/ldapmilter/relay.sock"
    assert found(tmp_path, "lmtp:unix:/ldapmilter/relay.sock", listen=listen) == ["relay-chroot"]


def test_tls_that_the_relay_does_not_have(tmp_path: Path) -> None:
    assert found(tmp_path, main={"lmtp_tls_security_level": "encrypt"}) == ["relay-tls"]


def test_a_transport_of_its_own_needs_none(tmp_path: Path) -> None:
    main = {"lmtp_tls_security_level": "encrypt"}
    assert found(tmp_path, f"copies:{UNIX}", main=main, rest=CHROOTED) == []


@pytest.mark.parametrize(
    ("main", "keep_after", "expected"),
    [
        ({}, "172800", []),
        ({}, "432000", ["relay-keep-after"]),
        ({"maximal_queue_lifetime": "2d"}, "172800", ["relay-keep-after"]),
        ({"bounce_queue_lifetime": "49h"}, "172800", ["relay-keep-after"]),
        ({"bounce_queue_lifetime": "50h"}, "172800", []),
    ],
)
def test_a_queue_that_gives_up_before_the_relay(
    tmp_path: Path, main: dict[str, str], keep_after: str, expected: list[str]
) -> None:
    assert found(tmp_path, main=main, keep_after=keep_after) == expected


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        ("smtp:[localhost]:25", ["relay-next-hop-own"]),
        ("smtp:[archive.example.test]:25 smtp:[192.0.2.9]:25", ["relay-next-hop-own"]),
        ("lmtp:[127.0.0.1]:7025", []),
        ("lmtp:unix:/run/archive.sock", []),
        ("smtp:[198.51.100.1]:25", []),
    ],
)
def test_a_next_hop_of_ones_own(tmp_path: Path, hops: str, expected: list[str]) -> None:
    assert found(tmp_path, options={"identity": {"own_relays": "192.0.2.0/24"}}, next_hop=hops) == expected


def test_a_content_filter_that_hands_mail_back_through_the_milter(tmp_path: Path) -> None:
    rest = (*LMTP, "127.0.0.1:10029 inet n - n - - smtpd")
    identity = {"identity": {"reinjection_ports": "10025"}}
    assert found(tmp_path, rest=rest, options=identity) == ["relay-reinjection"]


def test_a_content_filter_whose_port_is_named(tmp_path: Path) -> None:
    assert found(tmp_path, rest=(*LMTP, "127.0.0.1:10029 inet n - n - - smtpd")) == []
