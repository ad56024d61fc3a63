"""Domains in other scripts: IDNA 2008, and nobody's rule for the domain that IDNA 2003 would have read."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support import builders
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, MAILBOX_SERVER, Message, addresses

RULE: Final = "ldapMilterSenderFromRewrite"
ENFORCE: Final = "ldapMilterFromEnforce"

# A domain as a person writes it, as SMTP and the directory have it, and what IDNA 2003 would have made of it.
DOMAINS: Final = [
    ("stra\u00dfe.test", "xn--strae-oqa.test", "strasse.test"),
    ("STRA\u1e9eE.test", "xn--strae-oqa.test", "strasse.test"),
    ("\u03b2\u03cc\u03bb\u03bf\u03c2.test", "xn--nxasmm1c.test", "xn--nxasmq6b.test"),
    ("\u0928\u094d\u200d\u0937.test", "xn--l2b4a0dw70k.test", "xn--l2b4a0d.test"),
]


@pytest.mark.parametrize(("written", "meant", "other"), DOMAINS)
@pytest.mark.parametrize("prefix", ["", "."])
def test_a_rule_matches_its_domain_and_not_the_other(written: str, meant: str, other: str, prefix: str) -> None:
    host = "mail" if prefix else ""
    values = {
        ANN: {RULE: f"{prefix}{written} => legal@example.com", "ldapMilterArchiveBcc": f"v@x.test with={written}"}
    }
    world = example(values)

    matched = world.decide(Message(to=[f"joe@{host}{prefix}{meant}"]))
    written_out = world.decide(Message(to=[f"joe@{host}{prefix}{written}"]))
    missed = world.decide(Message(to=[f"joe@{host}{prefix}{other}"]))

    for decision in (matched, written_out):
        assert decision.from_change is not None
        assert addresses(decision) == ([] if prefix else ["v@x.test"])
    assert missed.from_change is None
    assert addresses(missed) == []


@pytest.mark.parametrize("joined", ["exa\u200cmple.com", "exa\u200dmple.com"])
def test_joiners_do_not_make_another_domain_the_users(joined: str) -> None:
    invalid = example({ANN: {RULE: f"{joined} => legal@example.com"}}).decide(Message(to=[BOB]))
    forged = example({ANN: {ENFORCE: "reject"}}).decide(Message(headers=[("From", f"ann@{joined}")]))

    assert invalid.from_change is None
    assert [notice for notice in invalid.warnings if notice.invalid_value_of == "from"]
    assert forged.verdict == "reject"


@pytest.mark.parametrize("written", ["stra\u00dfe.test", "xn--strae-oqa.test"])
def test_a_hosted_domain_is_found_in_either_form(written: str) -> None:
    records = [
        *builders.domain("xn--strae-oqa.test"),
        *builders.account("eve@xn--strae-oqa.test", ldapMilterArchiveBcc="v@x.test"),
    ]
    world = example({}, *records)

    received = world.decide(Message(login=None, to=[f"eve@{written}"]))
    sent = world.decide(Message(login=f"eve@{written}"))
    by_server = world.decide(Message(login=None, sender=f"eve@{written}", client=MAILBOX_SERVER))

    assert [addresses(decision) for decision in (received, sent, by_server)] == [["v@x.test"]] * 3


@pytest.mark.parametrize("configured", ["relay@stra\u00dfe.test", "RELAY@XN--STRAE-OQA.test."])
@pytest.mark.parametrize("login", ["relay@stra\u00dfe.test", "Relay@xn--strae-oqa.test", "relay@STRA\u1e9eE.test"])
def test_a_service_login_is_one_in_either_form(configured: str, login: str) -> None:
    options = {"identity": {"service_logins": f"{configured}={ANN}"}}
    world = example({ANN: {"ldapMilterArchiveBcc": "v@x.test"}}, options=options)

    assert addresses(world.decide(Message(login=login))) == ["v@x.test"]
    assert world.decide(Message(login="relay@strasse.test")).verdict == "tempfail"


@pytest.mark.parametrize("grantee", ["stra\u00dfe.test edom", "eve@stra\u00dfe.test email", "XN--STRAE-OQA.test edom"])
def test_a_right_is_somebodys_in_either_form(grantee: str) -> None:
    def verdict(domain: str) -> str:
        eve = builders.account(f"eve@{domain}", ldapMilterFromEnforce="reject")
        world = example({BOB: {"zimbraACE": f"{grantee} sendAs"}}, *builders.domain(domain), *eve)
        return world.decide(Message(login=f"eve@{domain}", headers=[("From", BOB)])).verdict

    assert verdict("xn--strae-oqa.test") == "accept"
    assert verdict("strasse.test") == "reject"
