"""Cases from the field that were right when they were tried, and have to stay so: logins, grants, forms of From."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from ldapmilter.mailbox.reading import read_from
from tests.unit.policy.example import GLOBAL, example
from tests.unit.policy.test_enforcement import BY_WEBMAIL, CAROL, ENFORCE, FOREIGN, TEAM, fields, grant
from tests.unit.policy.world import ANN, BOB, Message, addresses

if TYPE_CHECKING:
    from tests.support.builders import Value

    Values = dict[str, dict[str, Value]]

COPY: Final = "ldapMilterArchiveSentBcc"
TO_EVERYBODY: Final = "00000000-0000-0000-0000-000000000000 all sendAs"
REJECT: Final[Values] = {ANN: {ENFORCE: "reject", COPY: "v@x.test"}}


@pytest.mark.parametrize(
    "login",
    [
        "ann",
        "ANN",
        "Ann@Example.COM",
        "a.able@example.org",
        "ann@example.com ",
        " ann@example.com",
        '"ann"@example.com',
    ],
)
def test_logins_as_people_type_them(login: str) -> None:
    decision = example(REJECT).decide(Message(login=login, sender=ANN, headers=fields(ANN)))

    assert (decision.verdict, addresses(decision)) == ("accept", ["v@x.test"])
    assert example(REJECT).decide(Message(login=login, sender=ANN, headers=fields(FOREIGN))).verdict == "reject"


@pytest.mark.parametrize("login", ["ann+x@example.com", "ann@nowhere.example", "ann?", ""])
def test_what_is_no_login(login: str) -> None:
    decision = example(REJECT).decide(Message(login=login, sender=ANN, headers=fields(FOREIGN)))

    assert addresses(decision) == []
    assert decision.verdict == ("tempfail" if login else "accept")


@pytest.mark.parametrize(
    ("values", "shown", "passes"),
    [
        ({CAROL: {"zimbraACE": [grant("-sendAs"), TO_EVERYBODY]}}, CAROL, False),
        ({TEAM: {"zimbraACE": grant("sendAsDistList")}}, TEAM, True),
        ({CAROL: {"zimbraACE": grant("sendOnBehalfOf")}}, CAROL, True),
        ({}, "ann+x@example.com", True),
        ({BOB: {"zimbraMailAlias": "ann+x@example.com"}}, "ann+x@example.com", False),
        ({}, "ann@example.com.", True),
        ({}, "<@relay.example,@other.example:ann@example.com>", True),
        ({}, "<@relay.example:boss@elsewhere.example>", False),
        ({}, '"ann"@example.com', True),
        ({}, '"an\\n"@example.com', True),
        ({}, "=?utf-8?q?Able=2C_Ann?= <ann@example.com>", True),
        ({}, "=?utf-8?q?Boss_=3Cboss=40elsewhere=2Eexample=3E=2C?= <ann@example.com>", True),
        ({}, "=?utf-8?q?ann=40example=2Ecom?= <boss@elsewhere.example>", False),
        ({}, "<ann@example.com> <boss@elsewhere.example>", False),
        ({}, "<boss@elsewhere.example> <ann@example.com>", False),
        ({}, "=?utf-8?q?ann=40example=2Ecom?=", False),
        ({}, "Us: ann@example.com;", True),
        ({}, "Us: ann@example.com, boss@elsewhere.example;", False),
        ({}, "\u202eelbA nnA <ann@example.com>", True),
    ],
)
def test_forms_of_from_and_grants(values: Values, shown: str, *, passes: bool) -> None:
    decision = example({**REJECT, **values}).decide(Message(headers=fields(shown)))

    assert decision.verdict == ("accept" if passes else "reject")
    assert addresses(decision) == ["v@x.test"]


@pytest.mark.parametrize("name", ["A" * 4_000, "\u00c4" * 4_000, "\u202eelbA\u202c nnA"])
def test_a_display_name_of_any_kind_makes_one_field(name: str) -> None:
    values: Values = {ANN: {ENFORCE: "rewrite", "displayName": name}}

    decision = example(values).decide(Message(headers=fields(FOREIGN)))

    assert decision.from_change is not None
    assert decision.from_change.value.isascii()
    assert decision.from_change.value.isprintable()
    assert [mailbox.address.text for mailbox in read_from([decision.from_change.value]).mailboxes] == [ANN]


@pytest.mark.parametrize(
    "forwards",
    ["joe@x.test;sue@y.test", "joe@x.test,, sue@y.test,", ",joe@x.test , <sue@y.test>", "joe@x.test,\tsue@y.test"],
)
def test_forwards_with_stray_separators(forwards: str) -> None:
    values: Values = {
        BOB: {"zimbraPrefMailForwardingAddress": forwards},
        GLOBAL: {"ldapMilterArchiveReceivedBcc": "v@x.test with=*"},
    }

    decision = example(values).decide(Message(to=[BOB]))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["v@x.test"]


def test_a_persona_with_a_grant_is_its_users_mail() -> None:
    values: Values = {**REJECT, "vault@example.com": {"zimbraACE": grant("sendAs"), COPY: "vault@x.test"}}

    decision = example(values).decide(replace(BY_WEBMAIL, headers=fields("vault@example.com")))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["v@x.test"]
