"""What the answers to Compare mean: readable and absent, hidden, entry hidden, no such attribute type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import pytest

from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.ldap.readability import (
    ALWAYS_THERE,
    asserted,
    kind_of,
    look,
    unreadable,
    unsearchable,
    why_hidden,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ldapmilter.directory.ldap.connection import Connection

COMPARE_FALSE, COMPARE_TRUE, ABSENT, UNDEFINED, NO_ENTRY, HIDDEN = 5, 6, 16, 17, 32, 50
BUSY, UNAVAILABLE, UNWILLING, OTHER = 51, 52, 53, 80

COS_DN: Final = "cn=default,cn=cos,cn=zimbra"
ANN_DN: Final = "uid=ann,ou=people,dc=example,dc=test"
DOMAIN_DN: Final = "dc=example,dc=test"
SAMPLES: Final = {"COS": COS_DN, "domain": DOMAIN_DN, "account": ANN_DN}
WANTED: Final = ("ldapMilterArchiveBcc", "ldapMilterLegalBcc")


class Server:
    """Answers Compare by attribute and DN, and notes what it was asked."""

    def __init__(self, answers: Mapping[tuple[str, str], int] | None = None, otherwise: int = ABSENT) -> None:
        self._answers = answers or {}
        self._otherwise = otherwise
        self.asked: list[tuple[str, str]] = []

    def compare(self, dn: str, attribute: str) -> int:
        self.asked.append((dn, attribute))
        return self._answers.get((dn, attribute), self._otherwise)


@pytest.mark.parametrize("code", [ABSENT, COMPARE_FALSE, COMPARE_TRUE])
def test_what_answers_may_be_read(code: int) -> None:
    assert unreadable(SAMPLES, WANTED, Server(otherwise=code).compare) == []


def test_one_absent_and_one_set() -> None:
    server = Server({(COS_DN, "ldapMilterLegalBcc"): COMPARE_FALSE})
    assert unreadable(SAMPLES, WANTED, server.compare) == []


@pytest.mark.parametrize("kind", SAMPLES)
def test_hidden_names_attribute_kind_and_entry(kind: str) -> None:
    server = Server({(SAMPLES[kind], "ldapMilterLegalBcc"): HIDDEN})
    (problem,) = unreadable(SAMPLES, WANTED, server.compare)
    for word in ("ldapMilterLegalBcc", kind, SAMPLES[kind]):
        assert word in problem


def test_an_entry_that_is_hidden_is_named_once() -> None:
    server = Server({(COS_DN, attribute): NO_ENTRY for attribute in WANTED})
    (problem,) = unreadable(SAMPLES, WANTED, server.compare)
    assert COS_DN in problem


def test_a_schema_that_lacks_an_attribute_is_named_once() -> None:
    server = Server({(dn, "ldapMilterLegalBcc"): UNDEFINED for dn in SAMPLES.values()})
    (problem,) = unreadable(SAMPLES, WANTED, server.compare)
    assert "schema" in problem
    assert "ldapMilterLegalBcc" in problem


def test_every_problem_is_told() -> None:
    server = Server({(COS_DN, WANTED[0]): HIDDEN, (COS_DN, WANTED[1]): HIDDEN, (ANN_DN, WANTED[0]): NO_ENTRY})
    problems = unreadable(SAMPLES, WANTED, server.compare)
    assert len(problems) == 3
    assert any(WANTED[0] in problem and COS_DN in problem for problem in problems)
    assert any(WANTED[1] in problem and COS_DN in problem for problem in problems)
    assert any(ANN_DN in problem for problem in problems)


def test_every_attribute_is_asked_of_every_kind() -> None:
    server = Server()
    unreadable(SAMPLES, WANTED, server.compare)
    assert {(dn, attribute) for dn in SAMPLES.values() for attribute in WANTED} <= set(server.asked)
    assert (ANN_DN, "zimbraCOSId") in server.asked
    assert (DOMAIN_DN, "zimbraDomainDefaultCOSId") in server.asked
    assert len(server.asked) == len(set(server.asked))


@pytest.mark.parametrize("code", [BUSY, UNAVAILABLE, UNWILLING, OTHER])
def test_no_answer_is_not_the_answer_that_all_is_well(code: int) -> None:
    assert unreadable(SAMPLES, WANTED, Server(otherwise=code).compare) != []


@pytest.mark.parametrize("attribute", ["ldapMilterAppliesToMembers", "objectClass"])
def test_what_makes_a_policy_group_has_to_be_readable(attribute: str) -> None:
    problems = unreadable(SAMPLES, WANTED, Server({(ANN_DN, attribute): HIDDEN}).compare)
    assert any(attribute in problem and ANN_DN in problem for problem in problems)


def test_a_site_that_uses_attributes_of_zimbras_needs_no_schema_of_ours() -> None:
    server = Server({(dn, "ldapMilterAppliesToMembers"): UNDEFINED for dn in SAMPLES.values()})
    assert unreadable(SAMPLES, ("amavisArchiveQuarantineTo",), server.compare) == []


def test_what_every_zimbra_has() -> None:
    assert ALWAYS_THERE == {"COS": COS_DN, "global config": "cn=config,cn=zimbra"}


@pytest.mark.parametrize(
    ("classes", "delivery", "kind"),
    [
        (("dcObject", "organization", "zimbraDomain", "amavisAccount"), (), "domain"),
        (("DCOBJECT", "ZIMBRADOMAIN"), (), "domain"),
        (("dcObject", "organization"), (), None),
        (("inetOrgPerson", "zimbraAccount"), ("ann@example.test",), "account"),
        (("inetOrgPerson", "zimbraAccount", "zimbraCalendarResource"), ("room@example.test",), "account"),
        # The identities of Zimbra's services are accounts too, in a tree with rules of its own.
        (("inetOrgPerson", "zimbraAccount"), (), None),
        (("zimbraDistributionList", "zimbraMailRecipient"), (), None),
        (("zimbraCOS",), (), None),
        (("zimbraServer",), (), None),
        ((), (), None),
    ],
)
def test_samples(classes: tuple[str, ...], delivery: tuple[str, ...], kind: str | None) -> None:
    entry = RawEntry(ANN_DN, {"objectclass": classes, "zimbramaildeliveryaddress": delivery})
    assert kind_of(entry) == kind


def test_much_that_is_hidden_is_one_sentence() -> None:
    server = Server(dict.fromkeys(((COS_DN, "objectClass"),), COMPARE_FALSE), otherwise=HIDDEN)
    (problem,) = unreadable(SAMPLES, WANTED, server.compare)
    assert problem == "18 attributes (ldapMilterAppliesToMembers and others) of COS, domain, account may not be read"


def test_a_schema_that_lacks_much_is_one_sentence() -> None:
    (problem,) = unreadable(SAMPLES, ("ldapMilterA", "ldapMilterB", "ldapMilterC", "ldapMilterD"), lacks_ours)
    assert problem == "the schema lacks 5 attributes (ldapMilterA and others)"


def lacks_ours(_dn: str, attribute: str) -> int:
    return UNDEFINED if attribute.startswith("ldapMilter") else ABSENT


@pytest.mark.parametrize(
    ("bind_dn", "class_hidden", "words"),
    [
        ("", True, "no identity is bound: set [ldap] bind_dn"),
        (ANN_DN, True, f"{ANN_DN} is a mail user: set [ldap] bind_dn"),
        (
            "uid=m,cn=appaccts,cn=zimbra",
            True,
            "no access rule of ours opens it to uid=m,cn=appaccts,cn=zimbra: one was removed",
        ),
        (
            "uid=m,cn=appaccts,cn=zimbra",
            False,
            "rule for uid=m,cn=appaccts,cn=zimbra is missing or old on this",
        ),
    ],
)
def test_why_policy_is_hidden(bind_dn: str, *, class_hidden: bool, words: str) -> None:
    def compare(dn: str, _attribute: str, value: str) -> int:
        if dn == COS_DN:
            return NO_ENTRY
        return HIDDEN if class_hidden and value == "ldapMilterPolicy" else ABSENT

    assert words in why_hidden(bind_dn, WANTED, SAMPLES.values(), compare)


def test_for_zimbras_own_attributes_the_class_tells_nothing() -> None:
    text = why_hidden("uid=m,cn=appaccts,cn=zimbra", ("amavisArchiveQuarantineTo",), (), lambda *_: HIDDEN)
    assert text == "no access rule of this server opens it to uid=m,cn=appaccts,cn=zimbra"


@pytest.mark.parametrize("plain", [ABSENT, HIDDEN])
def test_a_proxy_without_assertions_is_asked_for_one_attribute(plain: int) -> None:
    given: list[bool] = []

    class Proxy:
        def compare(self, _dn: str, _attribute: str, _value: str, *, asserted: Sequence[str] = ()) -> int:
            given.append(bool(asserted))
            return 12 if asserted else plain

    assert look(cast("Connection", Proxy()), ANN_DN, WANTED) == plain
    assert given == [True, False]


class Asserting:
    """A server that answers each Compare with an assertion by one code."""

    def __init__(self, code: int) -> None:
        self._code = code

    def compare(self, _dn: str, _attribute: str, _value: str, *, asserted: Sequence[str] = ()) -> int:
        return self._code if asserted else ABSENT


@pytest.mark.parametrize(("code", "words"), [(ABSENT, ""), (12, ""), (122, "may not be searched for")])
def test_what_may_be_compared_and_not_searched_for_is_hidden(code: int, words: str) -> None:
    codes = asserted(SAMPLES, WANTED, cast("Connection", Asserting(code)))
    assert codes == dict.fromkeys(SAMPLES, code)
    found = unsearchable(SAMPLES, codes)
    assert len(found) == (len(SAMPLES) if words else 0)
    assert all(words in text for text in found)
