"""The shipped schema says what the policy reference promises; older and newer ones are told apart."""

from __future__ import annotations

import re
from typing import Final

import pytest

from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.schema import definition
from ldapmilter.schema.definition import ARC, Definition, SchemaConflict, definitions, missing

IA5: Final = "1.3.6.1.4.1.1466.115.121.1.26"
TEXT: Final = "1.3.6.1.4.1.1466.115.121.1.15"
BOOLEAN: Final = "1.3.6.1.4.1.1466.115.121.1.7"
# Number, name, syntax, equality, single-valued: fixed for ever once released.
RELEASED: Final = [
    (1, "ldapMilterArchiveBcc", IA5, "caseIgnoreIA5Match", False),
    (2, "ldapMilterArchiveSentBcc", IA5, "caseIgnoreIA5Match", False),
    (3, "ldapMilterArchiveReceivedBcc", IA5, "caseIgnoreIA5Match", False),
    (4, "ldapMilterLegalBcc", IA5, "caseIgnoreIA5Match", False),
    (5, "ldapMilterLegalSentBcc", IA5, "caseIgnoreIA5Match", False),
    (6, "ldapMilterLegalReceivedBcc", IA5, "caseIgnoreIA5Match", False),
    (7, "ldapMilterSenderFromRewrite", TEXT, "caseIgnoreMatch", False),
    (8, "ldapMilterRecipientFromRewrite", TEXT, "caseIgnoreMatch", True),
    (9, "ldapMilterFromEnforce", IA5, "caseIgnoreIA5Match", True),
    (10, "ldapMilterAppliesToMembers", BOOLEAN, "booleanMatch", True),
    (11, "ldapMilterListFrom", IA5, "caseIgnoreIA5Match", True),
    (12, "ldapMilterListReplyTo", IA5, "caseIgnoreIA5Match", True),
    (13, "ldapMilterListHeaders", BOOLEAN, "booleanMatch", True),
    (14, "ldapMilterListHeaderField", IA5, "caseIgnoreIA5Match", False),
    (15, "ldapMilterListTag", TEXT, "caseIgnoreMatch", True),
    (16, "ldapMilterListBounces", IA5, "caseIgnoreIA5Match", True),
]


def test_what_is_released_stays() -> None:
    found = definitions(definition.shipped().all("olcattributetypes"))
    assert [
        (
            int(each.oid.removeprefix(f"{ARC}.1.")),
            *each.names,
            (re.search(r"SYNTAX (\S+)", each.plain) or [""])[1],
            (re.search(r"EQUALITY (\S+)", each.plain) or [""])[1],
            "SINGLE-VALUE" in each.plain,
        )
        for each in found
    ] == RELEASED


def test_the_class_is_auxiliary_and_allows_all_of_them() -> None:
    (policy,) = definitions(definition.shipped().all("olcobjectclasses"))
    assert policy.names == ("ldapMilterPolicy",)
    assert policy.oid == f"{ARC}.2.1"
    assert " SUP top AUXILIARY " in policy.plain
    assert "MUST" not in policy.plain
    assert policy.may == {name.lower() for _, name, *_ in RELEASED}


def test_the_arc_is_that_of_a_uuid() -> None:
    assert int("c94f9fe577ee413894f6d8004f30d779", 16) == int(ARC.removeprefix("2.25."))


def as_a_server_keeps_it(*, without: int = 0, extra: str = "", changed: tuple[str, str] = ("", "")) -> RawEntry:
    """Return our entry as slapd returns it, without its last attributes."""
    shipped = definition.shipped()
    kept = definitions(shipped.all("olcattributetypes"))[: len(RELEASED) - without]
    types = [f"{{{n}}}{' '.join(each.text.split()).replace(*changed)}" for n, each in enumerate(kept)]
    if extra:
        types.append(f"{{{len(types)}}}{extra}")
    (policy,) = shipped.all("olcobjectclasses")
    for _, name, *_ in RELEASED[len(RELEASED) - without :]:
        policy = re.sub(rf"\$\s+{name}\s", "", policy)
    return RawEntry(
        "cn={7}ldapmilter,cn=schema,cn=config",
        {"olcattributetypes": tuple(types), "olcobjectclasses": (f"{{0}}{' '.join(policy.split())}",)},
    )


def test_the_same_schema_lacks_nothing() -> None:
    lacking = missing(as_a_server_keeps_it())
    assert (lacking.attributes, lacking.classes) == ((), {})
    # Descriptions may be worded anew, and numbers written out.
    reworded = as_a_server_keeps_it(changed=("Archive copies of mail sent", "Sent mail"))
    assert missing(reworded).attributes == ()
    numbers = as_a_server_keeps_it(changed=("ldapMilterAttributeType:", f"{ARC}.1."))
    assert missing(numbers).attributes == ()


def test_an_older_schema_gets_what_it_lacks() -> None:
    old = as_a_server_keeps_it(without=2)
    lacking = missing(old)
    assert [Definition(text).names for text in lacking.attributes] == [
        ("ldapMilterListTag",),
        ("ldapMilterListBounces",),
    ]
    ((replaced, by),) = lacking.classes.items()
    assert replaced == old.first("olcobjectclasses")
    assert Definition(by).may == {name.lower() for _, name, *_ in RELEASED}


@pytest.mark.parametrize(
    ("installed", "words"),
    [
        pytest.param(
            as_a_server_keeps_it(extra=f"( {ARC}.1.17 NAME 'ldapMilterNew' SYNTAX {IA5} )"),
            ["ldapMilterNew", "newer"],
            id="an attribute of tomorrow",
        ),
        pytest.param(
            as_a_server_keeps_it(changed=("caseIgnoreIA5Match", "caseExactIA5Match")),
            ["ldapMilterArchiveBcc", "otherwise"],
            id="the same number, something else",
        ),
    ],
)
def test_another_schema_is_refused(installed: RawEntry, words: list[str]) -> None:
    with pytest.raises(SchemaConflict) as caught:
        missing(installed)
    for word in [*words, installed.dn]:
        assert word in str(caught.value)


def test_a_class_of_tomorrow_is_refused() -> None:
    installed = as_a_server_keeps_it()
    values = tuple(value.replace("MAY ( ", "MAY ( ldapMilterNew $ ") for value in installed.all("olcobjectclasses"))
    newer = RawEntry(installed.dn, {**installed.attributes, "olcobjectclasses": values})
    with pytest.raises(SchemaConflict, match="newer"):
        missing(newer)
