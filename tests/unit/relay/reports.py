"""A message, what was decided of it, and the report of it, as a test describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ldapmilter.relay.decided import Decided
from ldapmilter.relay.expansion import Expanded, LeadsOn
from ldapmilter.relay.original import header_fields
from ldapmilter.relay.report import JournalReport, ReportSettings, build
from tests.support import journal_readers

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN: Final = "0123456789abcdef" * 3
SETTINGS: Final = ReportSettings(report_from="Copies <copies@example.com>", domain="copies.invalid")
DECIDED: Final = Decided(
    token=TOKEN,
    target="vault@archive.example.net",
    classes=("archive",),
    refs=(),
    queue_id="4Tq1Xz0abcz9",
    time="2026-06-15T10:00:00.123Z",
    sender="ann@example.com",
    identified=True,
    offered=("bob@example.com",),
)
EXPANDED: Final = Expanded(time="2026-06-15T10:00:01.000Z", incomplete=False)
MESSAGE: Final = (
    b"Received: from client.example.net by mx.example.com; Mon, 15 Jun 2026 10:00:00 +0000\r\n"
    b"From: Ann <ann@example.com>\r\n"
    b"To: Bob <bob@example.com>\r\n"
    b"Subject: The offer\r\n"
    b"Message-ID: <1@example.com>\r\n"
    b"\r\n"
    b"Dear Bob,\r\n"
    b"here it is.\r\n"
)


@dataclass(frozen=True)
class Pieces:
    """A message in pieces of one size."""

    octets: bytes
    piece: int = 7

    @property
    def size(self) -> int:
        return len(self.octets)

    @property
    def eight_bit(self) -> bool:
        return not self.octets.isascii()

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.octets), self.piece):
            yield self.octets[start : start + self.piece]

    def values(self, name: str) -> tuple[str, ...]:
        return header_fields(self.chunks()).get(name, ())


def decided(**changes: object) -> Decided:
    return replace(DECIDED, **changes)


def to_list(name: str, *members: str, also: tuple[str, ...] = ()) -> LeadsOn:
    return LeadsOn(recipient=name, how="expanded", stays=not members, behind=members, also=also)


def forwarding(account: str, *targets: str, keeps: bool = True) -> LeadsOn:
    return LeadsOn(recipient=account, how="forwarded", stays=keeps, behind=targets)


def expanded(*recipients: LeadsOn) -> Expanded:
    return replace(EXPANDED, recipients=recipients)


def report(
    what: Decided = DECIDED,
    behind: Expanded = EXPANDED,
    message: bytes = MESSAGE,
    seal: str | None = None,
) -> JournalReport:
    return build(what, behind, Pieces(message), SETTINGS, seal)


def octets(
    what: Decided = DECIDED, behind: Expanded = EXPANDED, message: bytes = MESSAGE, seal: str | None = None
) -> bytes:
    made = report(what, behind, message, seal)
    whole = b"".join(made.chunks())
    assert len(whole) == made.size
    assert made.eight_bit is not whole.isascii()
    return whole


def read(what: Decided = DECIDED, behind: Expanded = EXPANDED, message: bytes = MESSAGE) -> journal_readers.Journal:
    """Return a report as the strict reader reads it, and hold Python's to it."""
    whole = octets(what, behind, message)
    journal = journal_readers.strictly(whole)
    other = journal_readers.by_email(whole)
    assert (other.sender, other.on_behalf_of, other.subject) == (journal.sender, journal.on_behalf_of, journal.subject)
    assert (other.message_id, other.recipients) == (journal.message_id, journal.recipients)
    assert journal.original == message
    return journal


def message(*fields: str, body: str = "Hello.\r\n") -> bytes:
    return "".join(f"{field}\r\n" for field in fields).encode("utf-8", "surrogateescape") + b"\r\n" + body.encode()
