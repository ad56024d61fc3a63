"""What is mailed in the soak, and what must become of it.

The directory is that of the end-to-end tests, with a hundred clerks more whose COS archives what
they receive in mailboxes of their own: so there is always somebody whom no cache holds. And with a list
of everybody: thousands of members, some of whom are copied. Among the recipients are addresses of copies,
and any recipient may be refused by a later milter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Final

from tests.e2e.company import ALIASES, ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE, LEGAL_FROM, company
from tests.support.builders import account, cos, static_list
from tests.support.later_milter import REFUSAL
from tests.support.names import zimbra_id
from tests.support.record import merge

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping

    from tests.support.record import Record

ANN, BOB, CARL, HENRY, JANE, KIM, ZOE = (
    f"{name}@example.test" for name in ("ann", "bob", "carl", "henry", "jane", "kim", "zoe")
)
STAFF: Final = "staff@example.test"
OUTSIDER: Final = "x@outside.test"
VAULT: Final = "vault@example.test"
ZOE_FROM: Final = 'Zoë "Z" Ångström <zoe@example.test>'
SAFE: Final = "safe@example.test"
"""Another address of the vault."""
CLERKS: Final = 100
EVERYBODY: Final = "everybody@example.test"
"""The list; Postfix takes what is for its members to one mailbox: they are many, and not what is tried."""
CROWD: Final = "crowd@sink.test"
ANNS_COPIES: Final = frozenset({ARCHIVE, HOLD})
CARLS_COPIES: Final = frozenset({CARL_ARCHIVE, CARL_HOLD})
_COPIED_MEMBERS: Final = 5
EVERYBODYS_COPIES: Final = CARLS_COPIES | {f"clerk-{number}@box.keep.test" for number in range(_COPIED_MEMBERS)}
STANDS_FOR: Final[Mapping[str, frozenset[str]]] = {
    STAFF: frozenset({CARL, JOE}),
    EVERYBODY: frozenset({CROWD}),
    SAFE: frozenset({VAULT}),
}
"""The mailboxes behind a recipient, where they are not its own."""
POSTFIX_ALIASES: Final = f"inline:{{ {ALIASES}, {{{EVERYBODY} = {CROWD}}} }}"
TAKEN: Final = range(200, 300)
LATER: Final = range(400, 500)
_REFUSED: Final = 571


def records(members: int) -> list[Record]:
    """Return the directory's entries, parents first.

    Args:
        members: how many the list of everybody has.
    """
    copied = [CARL, *(f"clerk-{number}@example.test" for number in range(_COPIED_MEMBERS))]
    crowd = [f"crowd-{number}@example.test" for number in range(members - len(copied))]
    return merge(
        [
            *company(),
            *cos("desk", ldapMilterArchiveReceivedBcc="{localpart}@box.keep.test"),
            *(
                entry
                for number in range(CLERKS)
                for entry in account(f"clerk-{number}@example.test", cos_id=zimbra_id("cos", "desk"))
            ),
            *static_list(EVERYBODY, [*copied, *crowd]),
            *(entry for address in crowd for entry in account(address)),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is sent, which mailboxes it must reach, and the From it must have there."""

    author: str
    recipients: tuple[str, ...]
    copies: frozenset[str] = frozenset()
    from_after: str | None = None
    """``None``: the author's own, untouched."""

    @property
    def logged_in(self) -> bool:
        """Whether the author is one of ours."""
        return self.author != OUTSIDER

    def mailboxes(self, refused: Collection[str] = ()) -> frozenset[str]:
        """Return every mailbox that must get the message, once.

        A copy is made whoever was refused: ours is not told, and nobody may escape a copy by it.

        Args:
            refused: recipients that a later milter refused.
        """
        reached = (one.lower() for one in self.recipients if one not in refused)
        return self.copies.union(*(STANDS_FOR.get(one, frozenset({one})) for one in reached))

    @property
    def is_to_a_copy(self) -> bool:
        """Whether the address of a copy is among the recipients."""
        return any(STANDS_FOR.get(one.lower(), {one.lower()}) & self.copies for one in self.recipients)

    @property
    def sender(self) -> str:
        """The From that the message must arrive with, decoded."""
        return self.from_after or f"<{self.author}>"


KINDS: Final = (
    Kind(author=ANN, recipients=(BOB,), copies=ANNS_COPIES),
    Kind(author=ANN, recipients=(CARL, JOE), copies=ANNS_COPIES | CARLS_COPIES, from_after=LEGAL_FROM),
    Kind(author=ANN, recipients=(STAFF,), copies=ANNS_COPIES | CARLS_COPIES, from_after=LEGAL_FROM),
    Kind(author=BOB, recipients=(JANE,)),
    Kind(author=JANE, recipients=(CARL, BOB), copies=CARLS_COPIES),
    Kind(author=KIM, recipients=(JOE,), from_after=LEGAL_FROM),
    Kind(author=ZOE, recipients=(JANE,), from_after=ZOE_FROM),
    Kind(author=HENRY, recipients=(BOB, JOE), copies=frozenset({VAULT})),
    Kind(author=OUTSIDER, recipients=(BOB,)),
    Kind(author=OUTSIDER, recipients=(STAFF,), copies=CARLS_COPIES),
    # Who addresses a copy's address does not escape the copy, and makes no second one.
    Kind(author=ANN, recipients=(BOB, HOLD), copies=ANNS_COPIES),
    Kind(author=ANN, recipients=(BOB, HOLD.upper()), copies=ANNS_COPIES),
    Kind(author=ANN, recipients=(HOLD, ARCHIVE), copies=ANNS_COPIES),
    Kind(author=JANE, recipients=(CARL, CARL_HOLD), copies=CARLS_COPIES),
    Kind(author=HENRY, recipients=(BOB, SAFE), copies=frozenset({VAULT})),
    *(Kind(author=f"many-{number}@example.test", recipients=(CARL,), copies=CARLS_COPIES) for number in range(8)),
)
_TO_EVERYBODY: Final = 0.002
_TO_A_CLERK: Final = 0.4


def any_kind(choice: random.Random) -> Kind:
    """Draw a kind of message; often one to clerks, rarely one to everybody."""
    drawn = choice.random()
    if drawn < _TO_EVERYBODY:
        return to_everybody(choice)
    if drawn > _TO_A_CLERK:
        return choice.choice(KINDS)
    names = [f"clerk-{number}" for number in choice.sample(range(CLERKS), choice.randint(1, 4))]
    archives = frozenset(f"{name}@box.keep.test" for name in names)
    author, of_author = choice.choice(((ANN, ANNS_COPIES), (BOB, frozenset()), (OUTSIDER, frozenset())))
    recipients = tuple(f"{name}@example.test" for name in names)
    return Kind(author=author, recipients=recipients, copies=archives | of_author)


def to_everybody(choice: random.Random) -> Kind:
    """Draw a message to the list of everybody."""
    author, of_author = choice.choice(((ANN, ANNS_COPIES), (BOB, frozenset()), (OUTSIDER, frozenset())))
    return Kind(author=author, recipients=(EVERYBODY,), copies=EVERYBODYS_COPIES | of_author)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One time that a message was handed in."""

    at: float
    """Seconds since the soak began."""
    seconds: float
    """From connecting to the answer that decided, greeting and login included."""
    code: int
    """Of the reply; 0: the connection broke, or there was no answer."""
    text: str
    refused: frozenset[str] = frozenset()
    """Recipients that a later milter refused."""

    @property
    def is_anothers(self) -> bool:
        """Whether a later milter refused the message, or all its recipients."""
        return self.code == _REFUSED and self.text.endswith(REFUSAL)


@dataclass(kw_only=True)
class Letter:
    """One message with its history."""

    token: str
    kind: Kind
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def taken(self) -> bool:
        """Whether the server has taken the message."""
        return bool(self.attempts) and self.attempts[-1].code in TAKEN

    @property
    def mailboxes(self) -> frozenset[str]:
        """Every mailbox that must have the message, once."""
        return self.kind.mailboxes(self.attempts[-1].refused) if self.taken else frozenset()

    @property
    def waits(self) -> bool:
        """Whether it is to be handed in again."""
        return not self.attempts or self.attempts[-1].code in LATER


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One message in one mailbox."""

    token: str
    mailbox: str
    froms: tuple[str, ...]
    """The values of all From fields, decoded."""


def read(mailbox: str, raw: bytes) -> Arrival:
    """Return what a delivered message says of itself; the token is empty when it has none of ours."""
    head = raw.partition(b"\n\n")[0].replace(b"\n ", b" ").replace(b"\n\t", b" ")
    fields = [line.partition(b":")[::2] for line in head.split(b"\n")]
    ids = [value for name, value in fields if name.lower() == b"message-id"]
    token = ids[0].strip(b" <>").partition(b"@client.test")[0].decode("ascii", "replace") if len(ids) == 1 else ""
    froms = tuple(_decoded(value) for name, value in fields if name.lower() == b"from")
    return Arrival(token=token, mailbox=mailbox, froms=froms)


def _decoded(value: bytes) -> str:
    return str(make_header(decode_header(value.strip().decode("latin-1"))))
