"""Whatever anybody writes, a decision comes out: no text of an envelope, header or value raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.address import parse_address
from ldapmilter.mailbox.reading import read_from
from tests.unit.policy.example import GLOBAL, example
from tests.unit.policy.world import ANN, BOB, MAILBOX_SERVER, OUTSIDER, Message

if TYPE_CHECKING:
    from datetime import date

ATTRIBUTES: Final = (
    "ldapMilterArchiveBcc",
    "ldapMilterLegalBcc",
    "ldapMilterSenderFromRewrite",
    "ldapMilterRecipientFromRewrite",
)
WORLD: Final = example(
    {
        GLOBAL: {
            "ldapMilterArchiveBcc": ["vault@example.net with=external", "{localpart}@{domain}.archive"],
            "ldapMilterLegalBcc": "hold@example.net with=group:team@example.com",
            "ldapMilterSenderFromRewrite": "* => {fromName} {displayName} <{address}>",
        }
    },
    options={"identity": {"unknown_login": "accept"}},
)

# Surrogates stand for bytes that are not UTF-8.
_PIECE: Final = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["ann", "team", "nobody", "@", "+", ".", '"', "\\", "<", ">", ",", ":", "=", "=>", " ", "\r\n", "\0", "\udcff"]
    ),
    st.sampled_from(["example.com", "example.org", "catchall.example", "b\u00fccher.example", "[192.0.2.1]"]),
    st.sampled_from(
        ["with=", "until=", "ref=", "none", "internal", "group:", "{localpart}", "{domain}", "{", "}", "*"]
    ),
)
ANY_TEXT: Final = st.lists(_PIECE, max_size=8).map("".join)
ADDRESS_LIKE: Final = st.builds(
    "{}@{}".format, ANY_TEXT, st.sampled_from(["example.com", "example.org", "catchall.example", "EXAMPLE.com.", "x"])
)
PATH: Final = st.one_of(ANY_TEXT, ADDRESS_LIKE)
# LDAP hands out UTF-8.
VALUE: Final = PATH.map(lambda text: text.encode("utf-8", "replace").decode("utf-8"))


@given(
    login=st.one_of(st.none(), PATH),
    sender=PATH,
    recipients=st.lists(PATH, max_size=4),
    client=st.sampled_from([None, MAILBOX_SERVER, OUTSIDER, "not an address"]),
    header=ANY_TEXT,
)
@settings(deadline=None, max_examples=300)
def test_any_envelope(login: str | None, sender: str, recipients: list[str], client: str | None, header: str) -> None:
    message = Message(
        login=login,
        sender=sender,
        to=recipients,
        client=client,
        headers=[("From", header), ("Auto-Submitted", header)],
    )

    decision = WORLD.decide(message)

    assert decision.verdict == "accept"
    assert all(copy.address.is_readable for copy in decision.copies)
    if decision.from_change is not None:
        value = decision.from_change.value
        assert value.isascii()
        assert value.isprintable()
        assert decision.identity.address is not None
        assert [mailbox.address for mailbox in read_from([value]).mailboxes] == [decision.identity.address]


@given(value=VALUE, attribute=st.sampled_from(ATTRIBUTES), today=st.dates())
@settings(deadline=None, max_examples=150)
def test_any_value(value: str, attribute: str, today: date) -> None:
    world = example({ANN: {attribute: value}, BOB: {attribute: value}})

    for message in (Message(to=[BOB], today=today), Message(login=None, to=[ANN], today=today)):
        decision = world.decide(message)

        assert decision.verdict in {"accept", "tempfail"}
        assert all(copy.address.is_readable for copy in decision.copies)
        assert all(parse_address(copy.address.text) == copy.address for copy in decision.copies)


@given(name=ANY_TEXT)
@settings(deadline=None, max_examples=150)
def test_any_name_in_the_header_leaves_one_mailbox(name: str) -> None:
    world = WORLD_WITH_NAME
    for header in (name, f'"{name}" <{ANN}>', f"{name} <{ANN}>"):
        decision = world.decide(Message(headers=[("From", header)]))

        assert decision.from_change is not None
        (mailbox,) = read_from([decision.from_change.value]).mailboxes
        assert mailbox.address.text == "legal@example.com"


WORLD_WITH_NAME: Final = example({ANN: {"ldapMilterSenderFromRewrite": "* => {fromName} x <legal@example.com>"}})
