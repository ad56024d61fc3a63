"""One message as it comes in: what is collected of it, and what follows from that. No libmilter here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from ldapmilter.message import Envelope, HandledMessage
from ldapmilter.milter.effects import Replaced
from ldapmilter.milter.header_fields import NO_FIELDS, HeaderFields
from ldapmilter.milter.macros import as_text
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.model import TEMPFAIL_REPLY, Notice

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

_FROM = "from"
_MESSAGE_ID = "message-id"
_SUBJECT = "subject"
NOT_CHANGED = frozenset([_MESSAGE_ID, _SUBJECT])
"""Fields that are read for log and audit only."""
_TEST_SUBJECT = ("probe",)
"""The Subject of Postfix's own address test (``sendmail -bv``), which no macro tells apart."""
MAX_FIELDS_OF_A_NAME = 10_000
"""Postfix deletes header fields in a time that grows with the square of their number: 10,000 take four seconds,
100,000 minutes."""


class CollectedMessage(Struct):
    """One message: made at MAIL, dropped at the end of the message and at abort."""

    epoch: int
    """What :meth:`~ldapmilter.milter.interface.Counting.message_began` returned."""
    sender: str = ""
    login: str | None = None
    client: str | None = None
    daemon_port: int | None = None
    submitted_locally: bool = False
    recipients: list[str] = field(default_factory=list)
    """As the MTA understands them."""
    spellings: list[str] = field(default_factory=list)
    """As the client wrote each of them: the MTA finds a recipient to delete by this."""
    notifications: list[str] = field(default_factory=list)
    """The ESMTP parameters of each of them that ask for notifications (RFC 3461)."""
    fields: HeaderFields = NO_FIELDS
    basis: Basis = field(default_factory=Basis)
    """What it is decided by."""
    decision: Decision | None = None
    ended_at: float | None = None
    """When its end came (monotonic seconds)."""
    failure: BaseException | None = None
    """What went wrong in a callback that has no reply."""

    @property
    def envelope(self) -> Envelope:
        """The envelope, as far as it has come."""
        return Envelope(
            login=self.login,
            client=self.client,
            sender=self.sender,
            recipients=tuple(self.recipients),
            submitted_locally=self.submitted_locally,
            daemon_port=self.daemon_port,
        )

    def add_recipient(self, delivered: str, spelling: str, parameters: tuple[bytes, ...]) -> None:
        """Add a recipient: as the MTA understands it, as the client wrote it, and its ESMTP parameters."""
        self.recipients.append(delivered)
        self.spellings.append(spelling)
        self.notifications.append(_notifications(parameters))

    def wanted_fields(self, decision: Decision, *, keeps_message_ids: bool) -> frozenset[str]:
        """Return the names of the header fields to read. All of a name are read: each may occur more than once.

        A field that is to change is read to count it: exactly one is to be left.
        """
        wanted: frozenset[str] = decision.headers_needed | decision.changed_fields
        if wanted:
            wanted |= {_FROM}
        if wanted or (decision.copies and keeps_message_ids):
            wanted |= {_MESSAGE_ID}
            if self.submitted_locally:
                wanted |= {_SUBJECT}
        return wanted

    def handled(self, queue_id: str, *, probe: bool) -> HandledMessage:
        """Return the message as log and audit name it."""
        fields = self.fields
        if not fields.wanted:  # as of most mail
            return HandledMessage(queue_id=queue_id, envelope=self.envelope, probe=probe, ended_at=self.ended_at)
        return HandledMessage(
            queue_id=queue_id,
            envelope=self.envelope,
            message_ids=tuple(map(str.strip, fields.values(_MESSAGE_ID))) if _MESSAGE_ID in fields.wanted else None,
            old_from=fields.values(_FROM) if _FROM in fields.wanted else None,
            address_test=tuple(map(str.strip, fields.values(_SUBJECT))) == _TEST_SUBJECT,
            probe=probe,
            ended_at=self.ended_at,
        )

    def replaced(self, decision: Decision) -> list[Replaced]:
        """Return the recipients that a copy takes the place of."""
        already = {text for copy in decision.applied_copies for text in copy.replaces}
        if not already:
            return []
        each = zip(self.recipients, self.spellings, self.notifications, strict=True)
        return [Replaced(text, _without_route(spelling), asked) for text, spelling, asked in each if text in already]

    def feasible(self, decision: Decision) -> Decision:
        """Return the decision, or one that defers or refuses the message where its header cannot be changed so."""
        if decision.applied_verdict != "accept":
            return decision
        if uncounted := sorted(decision.changed_fields - self.fields.wanted):
            names = ", ".join(uncounted)
            text = (
                f"the policy changed while the message came in: {names} is to change, and its fields were not counted"
            )
            warnings = (*decision.warnings, Notice(text=text))
            return replace(
                decision,
                verdict="tempfail",
                verdict_mode="apply",
                smtp_reply=TEMPFAIL_REPLY,
                waits_because=(text,),
                warnings=warnings,
            )
        for name in sorted(decision.changed_fields):
            if self.fields.counts.get(name, 0) > MAX_FIELDS_OF_A_NAME:
                text = f"550 5.6.0 The message has more than {MAX_FIELDS_OF_A_NAME} {name.title()} fields"
                return replace(decision, verdict="reject", verdict_mode="apply", smtp_reply=text)
        return decision


def _notifications(parameters: tuple[bytes, ...]) -> str:
    """Return the ESMTP parameters of RCPT that a milter can hand back (RFC 3461 section 4), in one string."""
    texts = (as_text(parameter) for parameter in parameters)
    return " ".join(text for text in texts if text.upper().startswith(("NOTIFY=", "ORCPT=")) and text.isascii())


def _without_route(path: str) -> str:
    """Return a path without its source route (RFC 5321 appendix C), which smtpd drops before it notes a recipient."""
    return path.partition(":")[2] if path.startswith("@") and ":" in path else path
