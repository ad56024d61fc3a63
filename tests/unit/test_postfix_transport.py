"""Where transport tables lead a domain: asked in Postfix's order, and "cannot be read" is no "nothing there"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.postfix.postconf import PostconfFailed
from ldapmilter.postfix.transport import Route, files_of, route, tables
from ldapmilter.socket_address import parse_socket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOMAIN = "copies.invalid"
ADDRESS = f"{48 * '0'}@{DOMAIN}"
UNIX = "unix:/run/ldapmilter/relay.sock"
ROUTED = {DOMAIN: f"lmtp:{UNIX}"}
RETRY = {DOMAIN: "retry:4.4.0 copy relay not routed"}

Tables = dict[str, "Mapping[str, str] | None"]
"""What each table holds; ``None``: it cannot be read."""


def asked(maps: Tables, listen: str = UNIX, queue: str = "/var/spool/postfix") -> Route:
    def ask(table: str, keys: Sequence[str]) -> Mapping[str, str]:
        held = maps[table]
        if held is None:
            raise PostconfFailed("permission denied")
        return {key: held[key] for key in keys if key in held}

    return route(DOMAIN, parse_socket(listen), list(maps), queue, ask)


def test_the_tables_of_a_list() -> None:
    assert tables("texthash:/a, lmdb:/b  proxy:ldap:/c.cf,inline:{ a=b, c=d }") == [
        "texthash:/a",
        "lmdb:/b",
        "proxy:ldap:/c.cf",
        "inline:{ a=b, c=d }",
    ]
    assert tables("") == []
    nested = "inline:{ { a = b }, { c = d, e } }"
    assert tables(f"{nested} texthash:/b,") == [nested, "texthash:/b"]


@pytest.mark.parametrize(
    ("value", "listen"),
    [
        ("lmtp:unix:/run/ldapmilter/relay.sock", UNIX),
        ("copies:unix:/run/ldapmilter/relay.sock", UNIX),
        ("lmtp:unix:/ldapmilter/relay.sock", "unix:/var/spool/postfix/ldapmilter/relay.sock"),
        ("lmtp:unix:private/relay", "unix:/var/spool/postfix/private/relay"),
        ("lmtp:inet:127.0.0.1:7", "inet:127.0.0.1:7"),
        ("lmtp:[127.0.0.1]:7", "inet:127.0.0.1:7"),
        ("lmtp:127.0.0.1:7", "inet:0.0.0.0:7"),
        ("lmtp:inet:localhost:7", "inet:127.0.0.1:7"),
        ("lmtp:inet:[::1]:7", "inet:[::1]:7"),
    ],
)
def test_routed(value: str, listen: str) -> None:
    found = asked({"texthash:/ours": {DOMAIN: value}}, listen)
    transport, _, hop = value.partition(":")
    assert found == Route("routed", f"texthash:/ours sends {DOMAIN} to {value}", transport, hop)


@pytest.mark.parametrize(
    "value",
    [
        "lmtp:unix:/run/ldapmilter/other.sock",
        "lmtp:inet:127.0.0.1:7",
        "lmtp:/run/ldapmilter/relay.sock",
        "lmtp:",
        ":",
        "",
        "smtp:unix:/run/ldapmilter/relay.sock",
        "discard:unix:/run/ldapmilter/relay.sock",
        RETRY[DOMAIN],
    ],
)
def test_sent_elsewhere(value: str) -> None:
    found = asked({"texthash:/ours": {DOMAIN: value}})
    assert found.state == "not routed"
    assert f"to {value or '(nothing)'}, not to [relay] listen = {UNIX}" in found.text


def test_another_host_or_port_is_elsewhere() -> None:
    assert asked({"a": {DOMAIN: "lmtp:inet:192.0.2.1:7"}}, "inet:127.0.0.1:7").state == "not routed"
    assert asked({"a": {DOMAIN: "lmtp:inet:127.0.0.1:8"}}, "inet:127.0.0.1:7").state == "not routed"


def test_without_an_entry_it_is_not_routed() -> None:
    assert asked({}) == Route("not routed", f"transport_maps = (empty) has nothing for {DOMAIN}")
    assert asked({"a": {}, "b": {}}).text == f"transport_maps = a, b has nothing for {DOMAIN}"


def test_the_first_table_with_the_domain_counts() -> None:
    assert asked({"a": ROUTED, "b": RETRY}).state == "routed"
    assert asked({"a": RETRY, "b": ROUTED}).state == "not routed"


def test_a_further_table_keeps_the_mail() -> None:
    assert asked({"a": ROUTED, "ldap:/users": None, "b": RETRY}).kept
    assert not asked({"a": ROUTED, "b": {"elsewhere.test": "smtp:x"}}).kept


def test_the_whole_address_beats_the_domain_in_any_table() -> None:
    assert asked({"a": ROUTED, "regexp:b": {ADDRESS: "smtp:elsewhere"}}).state == "not routed"
    assert asked({"a": RETRY, "regexp:b": {ADDRESS: ROUTED[DOMAIN]}}).state == "routed"


def test_the_domain_beats_its_parents_and_these_beat_the_rest() -> None:
    assert asked({"a": {"*": "smtp:x", ".invalid": "smtp:y"}, "b": ROUTED}).state == "routed"
    assert asked({"a": {"*": "smtp:x"}, "b": {".invalid": ROUTED[DOMAIN]}}).state == "routed"


def test_what_cannot_be_read_before_ours_makes_it_unknown() -> None:
    found = asked({"ldap:/users": None, "a": ROUTED})
    assert found == Route("unknown", "ldap:/users cannot be read: permission denied")
    assert asked({"a": {}, "ldap:/users": None}).state == "unknown"


def test_what_cannot_be_read_behind_ours_does_no_harm() -> None:
    assert asked({"a": ROUTED, "ldap:/users": None}).state == "routed"


@pytest.mark.parametrize(
    ("table", "files"),
    [
        ("lmdb:/etc/postfix/transport", ["transport", "transport.db", "transport.lmdb", "transport.cdb"]),
        ("proxy:hash:/etc/postfix/t", ["t", "t.db", "t.lmdb", "t.cdb"]),
        ("inline:{ a=b }", []),
        ("static:smtp:[x]", []),
    ],
)
def test_the_files_that_a_table_may_be_kept_in(table: str, files: list[str]) -> None:
    assert [str(file) for file in files_of(table)] == [f"/etc/postfix/{name}" for name in files]
