"""Which servers take the copies for a target."""

from __future__ import annotations

from pathlib import Path

from ldapmilter.address import Address, parse_address
from ldapmilter.delivery.next_hop import parse_next_hop_for, parse_next_hops
from ldapmilter.delivery.settings import RelaySettings
from ldapmilter.socket_address import parse_socket


def settings(next_hop: str, next_hop_for: str = "") -> RelaySettings:
    return RelaySettings(
        listen=parse_socket("inet:127.0.0.1:10024"),
        socket_mode=0o660,
        socket_group="postfix",
        postfix_dir=None,
        domain="copies.invalid",
        key_file=Path("relay.key"),
        next_hop=parse_next_hops(next_hop),
        next_hop_for=parse_next_hop_for(next_hop_for),
        starttls="may",
        ca_file=None,
        envelope_sender="",
        report_from="journal@copies.invalid",
        state=Path("copies.sqlite"),
        kept=Path("kept"),
        keep_after=172800.0,
        late_after=900.0,
    )


def address(text: str) -> Address:
    found = parse_address(text)
    assert found is not None
    return found


def test_the_exact_domain_of_the_target_counts() -> None:
    relay = settings("smtp:[a.test]:25", "vault.test smtp:[b.test]:25")
    assert relay.hops_for(address("x@VAULT.test")) == parse_next_hops("smtp:[b.test]:25")
    assert relay.hops_for(address("x@sub.vault.test")) == parse_next_hops("smtp:[a.test]:25")
    assert settings("", "vault.test smtp:[b.test]:25").hops_for(address("x@other.test")) == ()
