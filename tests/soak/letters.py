"""What is mailed in the soak, and what must become of it.

The directory is that of the end-to-end tests, with a hundred clerks more whose COS archives what
they receive in mailboxes of their own: so there is always somebody whom no cache holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Final

from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE, LEGAL_FROM, company
from tests.support.builders import account, cos
from tests.support.names import zimbra_id
from tests.support.record import merge

if TYPE_CHECKING:
    import random

    from tests.support.record import Record

ANN, BOB, CARL, HENRY, JANE, KIM, ZOE = (
    f"{name}@example.test" for name in ("ann", "bob", "carl", "henry", "jane", "kim", "zoe")
)
STAFF: Final = "staff@example.test"
OUTSIDER: Final = "x@outside.test"
VAULT: Final = "vault@example.test"
ZOE_FROM: Final = 'Zoë "Z" Ångström <zoe@example.test>'
CLERKS: Final = 100
ANNS_COPIES: Final = frozenset({ARCHIVE, HOLD})
CARLS_COPIES: Final = frozenset({CARL_ARCHIVE, CARL_HOLD})
TAKEN: Final = range(200, 300)
LATER: Final = range(400, 500)


def records() -> list[Record]:
    """Return the directory's entries, parents first."""
    return merge(
        [
            *company(),
            *cos("desk", ldapMilterArchiveReceivedBcc="{localpart}@box.keep.test"),
            *(
                entry
                for number in range(CLERKS)
                for entry in account(f"clerk-{number}@example.test", cos_id=zimbra_id("cos", "desk"))
            ),
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
    behind: frozenset[str] | None = None
    """The mailboxes that the recipients stand for; ``None``: their own."""

    @property
    def logged_in(self) -> bool:
        """Whether the author is one of ours."""
        return self.author != OUTSIDER

    @property
    def mailboxes(self) -> frozenset[str]:
        """Every mailbox that must get the message, once."""
        return (frozenset(self.recipients) if self.behind is None else self.behind) | self.copies

    @property
    def sender(self) -> str:
        """The From that the message must arrive with, decoded."""
        return self.from_after or f"<{self.author}>"


_LIST: Final = frozenset({CARL, JOE})
KINDS: Final = (
    Kind(author=ANN, recipients=(BOB,), copies=ANNS_COPIES),
    Kind(author=ANN, recipients=(CARL, JOE), copies=ANNS_COPIES | CARLS_COPIES, from_after=LEGAL_FROM),
    Kind(author=ANN, recipients=(STAFF,), behind=_LIST, copies=ANNS_COPIES | CARLS_COPIES, from_after=LEGAL_FROM),
    Kind(author=BOB, recipients=(JANE,)),
    Kind(author=JANE, recipients=(CARL, BOB), copies=CARLS_COPIES),
    Kind(author=KIM, recipients=(JOE,), from_after=LEGAL_FROM),
    Kind(author=ZOE, recipients=(JANE,), from_after=ZOE_FROM),
    Kind(author=HENRY, recipients=(BOB, JOE), copies=frozenset({VAULT})),
    Kind(author=OUTSIDER, recipients=(BOB,)),
    Kind(author=OUTSIDER, recipients=(STAFF,), behind=_LIST, copies=CARLS_COPIES),
    *(Kind(author=f"many-{number}@example.test", recipients=(CARL,), copies=CARLS_COPIES) for number in range(8)),
)
_TO_A_CLERK: Final = 0.4


def any_kind(choice: random.Random) -> Kind:
    """Draw a kind of message; often one to clerks."""
    if choice.random() > _TO_A_CLERK:
        return choice.choice(KINDS)
    names = [f"clerk-{number}" for number in choice.sample(range(CLERKS), choice.randint(1, 4))]
    archives = frozenset(f"{name}@box.keep.test" for name in names)
    author, of_author = choice.choice(((ANN, ANNS_COPIES), (BOB, frozenset()), (OUTSIDER, frozenset())))
    recipients = tuple(f"{name}@example.test" for name in names)
    return Kind(author=author, recipients=recipients, copies=archives | of_author)


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
