"""An entry with very many values: they are read once, or they are too many, aloud."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from ldapmilter.address import make_address
from ldapmilter.directory import grants as send_grants
from ldapmilter.directory import groups
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.model import Entry
from ldapmilter.errors import TooLarge
from ldapmilter.folding import fold_value
from ldapmilter.policy.levels import MOST_VALUES
from ldapmilter.postfix.routing import read_values
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import example_records
from tests.unit.policy.world import ANN, BOB, JOE, Message, World, addresses, warnings_about

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.record import Record
    from tests.unit.policy.world import Options

MANY: Final = 300
HEAVY: Final = "heavy@example.com"
OUTSIDE: Final = [f"u{number}@outside.example.net" for number in range(MANY)]
REJECT: Final = {"ldapMilterFromEnforce": "reject"}
PARSERS: Final = (
    "parse_address",
    "parse_addresses",
    "stored_address",
    "read_from",
    "read_values",
    "parse_copy",
    "parse_sender_rule",
)


def _heavy(**attributes: Any) -> list[Record]:
    return builders.account(HEAVY, **attributes)


FROM_ELSEWHERE: Final = [("From", "x@elsewhere.example.net")]
CASES: Final[dict[str, tuple[Callable[[], list[Record]], Message]]] = {
    "members of a list": (lambda: builders.static_list(HEAVY, OUTSIDE), Message(to=[HEAVY])),
    "forwards": (lambda: _heavy(zimbraMailForwardingAddress=OUTSIDE), Message(to=[HEAVY])),
    "forwards of the user": (
        lambda: _heavy(zimbraPrefMailForwardingAddress=", ".join(OUTSIDE)),
        Message(to=[HEAVY]),
    ),
    "aliases": (
        lambda: builders.account(HEAVY, aliases=[f"alias{number}@example.com" for number in range(MANY)]),
        Message(to=[HEAVY]),
    ),
    "copies": (lambda: _heavy(ldapMilterArchiveReceivedBcc=OUTSIDE), Message(to=[HEAVY])),
    "rules": (
        lambda: _heavy(ldapMilterSenderFromRewrite=[f"u{number}.example.net => {ANN}" for number in range(MANY)]),
        Message(login=HEAVY),
    ),
    "allowed addresses": (
        lambda: _heavy(zimbraAllowFromAddress=OUTSIDE, **REJECT),
        Message(login=HEAVY, headers=FROM_ELSEWHERE),
    ),
    "offered addresses": (
        lambda: [
            *_heavy(zimbraPrefAllowAddressForDelegatedSender=OUTSIDE),
            *builders.account("clerk@example.com", **REJECT),
        ],
        Message(login="clerk@example.com", headers=[("From", HEAVY)]),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_values_of_an_entry_are_parsed_once(
    case: tuple[Callable[[], list[Record]], Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, message = case
    world = World([*example_records(), *made()])
    world.decide(message)
    calls = _count_calls(monkeypatch)

    world.decide(message)

    assert sum(calls.values()) < MANY / 10, calls


def test_the_grants_on_an_entry_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grants = [f"{zimbra_id('account', address)} usr sendAs" for address in OUTSIDE]
    records = [*_heavy(zimbraACE=grants), *builders.account("clerk@example.com", **REJECT)]
    world = World([*example_records(), *records])
    message = Message(login="clerk@example.com", headers=[("From", HEAVY)])
    world.decide(message)
    calls: dict[str, int] = {}
    monkeypatch.setattr(send_grants, "fold_value", _counted(fold_value, "fold_value", calls))

    world.decide(message)

    assert sum(calls.values()) < MANY / 10


def _count_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the texts that anything in the package parses from now on."""
    calls: dict[str, int] = {}
    for name, module in list(sys.modules.items()):
        for parser in PARSERS:
            if name.startswith("ldapmilter.") and hasattr(module, parser):
                monkeypatch.setattr(module, parser, _counted(getattr(module, parser), parser, calls))
    return calls


def _counted(parse: Callable[..., object], name: str, calls: dict[str, int]) -> Callable[..., object]:
    def counted(texts: object) -> object:
        if isinstance(texts, str):
            calls[name] = calls.get(name, 0) + 1
            return parse(texts)
        listed = list(texts)  # type: ignore[call-overload]
        calls[name] = calls.get(name, 0) + len(listed)
        return parse(listed)

    return counted


class _Full:
    """Look-ups for a message that has room for nothing."""

    def must_fit(self, size: int) -> None:
        raise TooLarge(str(size))


def test_what_is_too_much_for_a_message_is_not_parsed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RawEntry("uid=heavy,ou=people,dc=example,dc=com", {"zimbramailforwardingaddress": tuple(OUTSIDE)})
    heavy = Entry(raw=raw, kind="account", name=make_address("heavy", "example.com"))
    calls: dict[str, int] = {}
    monkeypatch.setattr(groups, "read_values", _counted(read_values, "read_values", calls))

    with pytest.raises(TooLarge, match=str(MANY)):
        groups.expand([heavy], cast("groups.GroupLookups", _Full()), groups.GroupLimits())

    assert calls == {}


TOO_MANY: Final = [f"u{number}@outside.example.net" for number in range(MOST_VALUES + 1)]


def test_as_many_values_as_may_be() -> None:
    records = builders.account(HEAVY, ldapMilterLegalBcc=TOO_MANY[:MOST_VALUES])

    decision = World([*example_records(), *records]).decide(Message(to=[HEAVY]))

    assert decision.verdict == "accept"
    assert len(decision.copies) == MOST_VALUES


@pytest.mark.parametrize(
    ("attribute", "options", "verdict"),
    [
        ("ldapMilterLegalBcc", {}, "tempfail"),
        ("ldapMilterLegalBcc", {"copy legal": {"invalid_value": "ignore"}}, "accept"),
        ("ldapMilterArchiveBcc", {}, "accept"),
        ("ldapMilterArchiveBcc", {"copy archive": {"invalid_value": "tempfail"}}, "tempfail"),
    ],
)
def test_too_many_values_are_an_invalid_value(attribute: str, options: Options, verdict: str) -> None:
    values = {"example.com": {attribute: "domain@outside.example.net"}}
    world = World([*example_records(values), *_heavy(**{attribute: TOO_MANY})], options)

    decision = world.decide(Message(login=None, sender=JOE, to=[HEAVY]))

    assert decision.verdict == verdict
    assert addresses(decision) == ["domain@outside.example.net"]  # the next level shows
    assert warnings_about(decision, "too many values", attribute, str(MOST_VALUES + 1))


@pytest.mark.parametrize("kind", ["ldapMilterSenderFromRewrite", "ldapMilterRecipientFromRewrite"])
def test_too_many_rules_are_an_invalid_value(kind: str) -> None:
    of_sender = kind == "ldapMilterSenderFromRewrite"
    values = [f"* => {text}" if of_sender else text for text in TOO_MANY]
    world = World([*example_records(), *_heavy(**{kind: values})])

    decision = world.decide(Message(login=HEAVY, to=[BOB]) if of_sender else Message(to=[HEAVY]))

    assert decision.from_change is None
    assert warnings_about(decision, "too many values", kind)
