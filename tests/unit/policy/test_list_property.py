"""Any post: its recipients stay, one From, Reply-To and List-Id are left, and the rest stays as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.milter import effects
from tests.unit.policy.test_lists import BOUNCES, FULL, POST, STAFF, world
from tests.unit.policy.world import ANN, BOB, JOE, Message

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

NAMES: Final = (
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "List-Id",
    "List-Post",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Precedence",
    "DKIM-Signature",
    "X-Original-DKIM-Signature",
    "X-Original-From",
    "Auto-Submitted",
    "Content-Type",
    "X-Other",
    "Received",
)
TEXT: Final = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=40)
VALUES: Final = st.one_of(
    TEXT,
    st.sampled_from(
        [
            STAFF,
            ANN,
            f"Joe <{JOE}>",
            f"{JOE}, {STAFF}",
            "sales@example.com",
            "J\udcf6e <x@y.example>",
            "=?utf-8?Q?[staff]_G=C3=BC?=",
            "Re: AW: [STAFF] x",
            "a\n\tb",
            "<other.example.net>",
            "text/calendar",
            "auto-replied",
            "",
            " ",
        ]
    ),
)
HEADERS: Final = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=12)
RECIPIENTS: Final = st.lists(
    st.sampled_from([STAFF, "sales@example.com", ANN, BOB, JOE, BOUNCES, "staff@example.org"]), min_size=1, max_size=4
)
ALL: Final = {**FULL, "ldapMilterListHeaderField": "List-Unsubscribe: <mailto:leave@example.com>"}
WORLDS: Final = [
    world(ALL),
    world({**ALL, "ldapMilterListFrom": "always", "ldapMilterListReplyTo": "list"}, second=FULL),
    world(ALL, ann={"ldapMilterFromEnforce": "rewrite"}, options={"from": {"reply_to": "author"}}),
    world({"ldapMilterListTag": "[Büro]", "ldapMilterListReplyTo": "author"}),
]


class Mta:
    """Postfix at the end of a message: a header that changes by name and number, and an envelope."""

    def __init__(self, headers: list[tuple[str, str]], recipients: list[str]) -> None:
        self.headers = list(headers)
        self.recipients = list(recipients)
        self.sender: str | None = None

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        if value is not None:
            value.encode()  # strictly, as libmilter does
        places = [place for place, (field, _) in enumerate(self.headers) if field.lower() == name.lower()]
        if index > len(places):
            assert value is not None
            self.headers.append((name, value))
        elif value is None:
            del self.headers[places[index - 1]]
        else:
            self.headers[places[index - 1]] = (name, value)

    def chgfrom(self, sender: str, /) -> None:
        self.sender = sender

    def delrcpt(self, recipient: str, /) -> None:
        self.recipients.remove(recipient)

    def addrcpt(self, recipient: str, parameters: str | None = None, /) -> None:
        assert parameters is None
        self.recipients.append(recipient)

    def values(self, name: str) -> list[str]:
        return [value for field, value in self.headers if field.lower() == name]


def carried_out(decision: Decision, headers: list[tuple[str, str]], recipients: list[str]) -> Mta:
    counts: dict[str, int] = {}
    for name, _ in headers:
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    mta = Mta(headers, recipients)
    effects.apply(mta, decision, counts)
    return mta


@settings(max_examples=300, deadline=None)
@given(
    here=st.sampled_from(range(len(WORLDS))),
    came=HEADERS,
    to=RECIPIENTS,
    login=st.sampled_from([None, ANN]),
    sender=st.sampled_from([JOE, "", "not an address"]),
)
def test_any_post(here: int, came: list[tuple[str, str]], to: list[str], login: str | None, sender: str) -> None:
    decision = WORLDS[here].decide(Message(to=to, login=login, sender=sender, headers=came))
    assert decision.verdict == "accept"
    left = carried_out(decision, came, to)
    assert left.recipients == to
    changed = {change.name.lower() for change in decision.applied_headers}
    for name in {"from", "reply-to", "list-id", "subject"} & changed:
        assert len(left.values(name)) <= 1
    if decision.from_change is not None:
        assert left.values("from") == [decision.from_change.value]
    untouched = [(name, value) for name, value in came if name.lower() not in changed]
    assert [(name, value) for name, value in left.headers if name.lower() not in changed] == untouched
    beside = [value for name, value in came if name == "X-Original-DKIM-Signature"]
    assert left.values("x-original-dkim-signature")[: len(beside)] == beside
    assert {"x-other", "received", "content-type", "auto-submitted", "to"}.isdisjoint(changed)


@settings(max_examples=100, deadline=None)
@given(came=HEADERS, here=st.sampled_from(range(len(WORLDS))))
def test_a_post_to_the_list_alone_is_done_once(came: list[tuple[str, str]], here: int) -> None:
    headers = [field for field in came if field[0] not in {"From", "To"}] + list(POST[:2])
    decide = WORLDS[here].decide
    first = decide(Message(to=[STAFF], login=None, sender=JOE, headers=headers))
    once = carried_out(first, headers, [STAFF])
    again = decide(Message(to=[STAFF], login=None, sender=BOUNCES, headers=once.headers))
    twice = carried_out(again, once.headers, [STAFF])
    assert twice.values("from") == once.values("from")
    assert twice.values("subject") == once.values("subject")
    assert twice.values("list-id") == once.values("list-id")
    assert twice.values("reply-to") == once.values("reply-to")
