"""From headers that exist, read; and whatever a message came with, one From that says one thing."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header
from email.utils import getaddresses
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import example as given_one
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.mailbox.reading import read_from
from ldapmilter.mailbox.writing import clean_display_name
from ldapmilter.milter import effects
from tests.unit.mailbox.corpus import FORMS, MAIL_PROGRAMS, TRICKS
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, Message, World

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.headerregistry import AddressHeader

    from ldapmilter.mailbox.writing import Mailbox
    from tests.unit.mailbox.corpus import Form


@pytest.mark.parametrize("form", FORMS, ids=lambda form: ascii(form.value)[:60])
def test_a_form_is_read(form: Form) -> None:
    header = read_from([form.value])

    assert [mailbox.address.key for mailbox in header.mailboxes] == list(form.addresses)
    assert header.display_name == form.name
    assert header.unreadable != form.readable


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    values = [form.value for form in FORMS]
    assert len(values) == len(set(values)) >= 150
    assert len(MAIL_PROGRAMS) >= 75
    assert len(TRICKS) >= 75


@pytest.mark.parametrize("form", MAIL_PROGRAMS, ids=lambda form: ascii(form.value)[:60])
def test_what_mail_programs_write_can_be_read(form: Form) -> None:
    assert form.readable
    assert form.addresses


@pytest.mark.parametrize("form", FORMS, ids=lambda form: ascii(form.value)[:60])
def test_a_form_beside_another_from_hides_nothing(form: Form) -> None:
    for values in ([form.value, "x@y.example"], ["x@y.example", form.value]):
        header = read_from(values)
        keys = [mailbox.address.key for mailbox in header.mailboxes]
        assert header.count == 2
        assert sorted(keys) == sorted([*form.addresses, "x@y.example"])
        assert header.unreadable != form.readable


class Head:
    """A message's header, changed as an MTA changes it for a milter."""

    def __init__(self, froms: Sequence[str]) -> None:
        self.fields = [("Received", "x"), *(("From", value) for value in froms), ("Subject", "minutes")]

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        """Change, add or delete one field of a name."""
        places = [place for place, field in enumerate(self.fields) if field[0].lower() == name.lower()]
        if index > len(places):
            assert value is not None
            self.fields.append((name, value))
        elif value is None:
            del self.fields[places[index - 1]]
        else:
            self.fields[places[index - 1]] = (name, value)

    def chgfrom(self, sender: str, /) -> None:
        """Do nothing: a From is all that is changed here."""

    def delrcpt(self, recipient: str, /) -> None:
        """Nor is anybody's place taken."""
        raise AssertionError(recipient)

    def addrcpt(self, recipient: str, parameters: str | None = None, /) -> None:
        """Nobody has a copy here."""
        raise AssertionError(recipient, parameters)

    @property
    def octets(self) -> bytes:
        return "".join(f"{name}: {value}\n" for name, value in self.fields).encode() + b"\nHello.\n"


NAMES: Final = st.one_of(
    st.text(max_size=60),
    st.text(st.sampled_from("ab.,@<>()[]:;\"'\\ \t\r\n=?_Qq\u00fc\u5c71\U0001f600\u200d\u202e"), max_size=60),
    st.sampled_from(FORMS).map(lambda form: form.value),
)
FROMS: Final = st.lists(
    st.one_of(
        st.sampled_from(FORMS).map(lambda form: form.value),
        st.text(st.sampled_from('ab@.,:;<>()[]"\\ \n\t=?q_\u00e9\udce9\x00'), max_size=60),
    ),
    max_size=4,
)


@lru_cache(maxsize=4)
def _world(attribute: str, value: str) -> World:
    return example({ANN: {attribute: value}})


def _left(world: World, froms: Sequence[str]) -> Head:
    decision = world.decide(Message(headers=[("From", value) for value in froms]))
    assert decision.verdict == "accept"
    head = Head(froms)
    effects.apply(head, decision, {"received": 1, "from": len(froms), "subject": 1})
    return head


def _check(head: Head, name: str, address: str) -> None:
    """Check that there is one From, which everybody reads as this mailbox."""
    (value,) = [value for field, value in head.fields if field.lower() == "from"]
    header = read_from([value])
    assert not header.unreadable
    (ours,) = header.mailboxes
    assert (ours.display_name, ours.address.text) == (name, address)

    message = email.message_from_bytes(head.octets, policy=email.policy.default)
    assert sorted(message.keys()) == ["From", "Received", "Subject"]
    parsed: AddressHeader = message["From"]
    assert [mailbox.addr_spec for mailbox in parsed.addresses] == [address]
    ((written, theirs),) = getaddresses([value.replace("\n ", " ")])
    assert (str(make_header(decode_header(written))), theirs) == (name, address)


@settings(deadline=None)
@given(froms=FROMS, name=NAMES)
def test_a_rule_leaves_one_from_that_says_one_thing(froms: list[str], name: str) -> None:
    world = _world("ldapMilterSenderFromRewrite", "* => {fromName} <legal@example.com>")
    shown = clean_display_name(read_from(froms).display_name)
    _check(_left(world, froms), shown, "legal@example.com")

    # The name of the directory in place of the header's.
    plain = "".join(character for character in name if not "\ud800" <= character <= "\udfff")
    named = example(
        {ANN: {"ldapMilterSenderFromRewrite": "* => {displayName} <legal@example.com>", "displayName": plain}}
    )
    entry = named.directory.for_message().login(ANN)
    assert entry is not None
    assert entry.entry is not None
    _check(_left(named, froms), clean_display_name(entry.entry.display_name), "legal@example.com")


def _own(mailbox: Mailbox) -> bool:
    """Whether the address is the user's own, with or without an extension."""
    local, _, domain = mailbox.address.key.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}" == ANN


@settings(deadline=None)
@given(froms=FROMS)
@given_one(froms=["Ann <ann+news@example.com>"])
@given_one(froms=["Ann <ann+news@example.com>", "ann@example.com"])
def test_enforcement_leaves_one_from_of_the_users_own(froms: list[str]) -> None:
    head = _left(_world("ldapMilterFromEnforce", "rewrite"), froms)
    left = [value for field, value in head.fields if field == "From"]
    if left != froms:
        # Of several that are all the user's own, the first one is left as it was.
        given_header = read_from(froms)
        whole = not given_header.unreadable and all(read_from([value]).mailboxes for value in froms)
        if froms and whole and all(map(_own, given_header.mailboxes)):
            first = given_header.mailboxes[0]
            _check(head, clean_display_name(first.display_name), first.address.text)
        else:
            _check(head, "Ann Able", ANN)
        return
    header = read_from(left)
    assert not header.unreadable
    assert all(map(_own, header.mailboxes))
