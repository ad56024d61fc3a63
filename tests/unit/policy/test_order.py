"""LDAP values have no order, and neither have the entries of a search: no decision may depend on one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from tests.support import builders
from tests.support.record import Record
from tests.unit.policy.example import GLOBAL, example, example_records
from tests.unit.policy.world import ANN, BOB, JOE, Message, World

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

RECIPIENTS: Final = [
    "team@example.com",
    "crew@example.com",
    "nobody@example.org",
    BOB,
    JOE,
]

_COPIES: Final = {
    "ldapMilterArchiveBcc": [
        "one@example.net",
        "two@example.net with=external",
        "three@example.net until=2027-01-01 ref=a",
        "{localpart}@archive.example.net",
        "broken",
        "nobody@example.com",
        "none",
    ],
    "ldapMilterArchiveSentBcc": ["four@example.net", "One@example.net ref=b"],
    "ldapMilterArchiveReceivedBcc": ["five@example.net", "vault@example.com", "safe@example.com"],
    "ldapMilterLegalBcc": ["hold@example.net ref=1", "hold@example.net ref=2", "two@example.net"],
}
_RULES: Final = {
    "ldapMilterSenderFromRewrite": [
        "group:team@example.com => z@example.com",
        "group:big@example.com => y@example.com",
        "group:crew@example.com => x@example.com",
        "external => w@example.com",
        "internal => v@example.com",
        "broken",
    ]
}
_WISH: Final = {"ldapMilterRecipientFromRewrite": ["b@example.com", "a@example.com"]}


def records() -> list[Record]:
    policy = {**_COPIES, **_RULES, **_WISH}
    return example_records(
        {
            ANN: policy,
            BOB: {**_COPIES, **_WISH},
            "team@example.com": {**_COPIES, **_WISH},
            "sub@example.com": _COPIES,
            "carol@example.com": _COPIES,
            "dan@example.com": _COPIES,
            "sales": policy,
            "example.com": policy,
            GLOBAL: policy,
        },
    )


def decisions(world: World) -> list[Decision]:
    messages = [
        Message(login=ANN, to=RECIPIENTS),
        # No rule of the sender: the recipients' wishes count.
        Message(login="keeper@example.com", to=[BOB, "team@example.com"]),
        Message(login=None, sender=JOE, to=RECIPIENTS),
    ]
    return [replace(world.decide(message), searches=0) for message in messages]


EXPECTED: Final = decisions(World(records()))


@pytest.mark.parametrize("seed", range(12))
def test_order_of_values(seed: int) -> None:
    shuffle = random.Random(seed).sample
    shuffled = [
        Record(record.dn, tuple(shuffle(record.attributes, len(record.attributes))), record.filler)
        for record in records()
    ]

    assert decisions(World(shuffled)) == EXPECTED


@pytest.mark.parametrize("seed", range(12))
def test_order_of_entries(seed: int) -> None:
    shuffled = records()
    random.Random(seed).shuffle(shuffled)

    assert decisions(World(shuffled)) == EXPECTED


def test_order_of_forwards() -> None:
    targets = ["dan@example.com", "carol@example.com", "bob@example.com", "ann@example.com"]

    def decision(forwards: list[str]) -> Decision:
        relay = builders.account("relay@example.com", zimbraMailForwardingAddress=forwards)
        values = {name: {"ldapMilterArchiveBcc": f"{name[:3]}@archive.example.net"} for name in targets}
        return example(values, *relay).decide(Message(login=None, sender=JOE, to=["relay@example.com"]))

    assert decision(targets) == decision(targets[::-1])


def test_the_sample_says_something() -> None:
    sent, wishes, received = EXPECTED

    assert sent.from_change is not None
    assert wishes.from_change is not None
    assert received.from_change is None
    assert all(decision.copies for decision in EXPECTED)
