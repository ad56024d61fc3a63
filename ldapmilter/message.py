"""What is known about a message: its envelope, its sender, and the header fields that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from ldapmilter.address import Address

IdentitySource = Literal["sasl", "mailbox-host", "none"]
"""How we know who is sending."""

PROBE_MACRO = "{ldapmilter_probe}"
"""Sent with its messages by ``ldapmilter probe``, and by no MTA."""


class Envelope(Struct, frozen=True, kw_only=True):
    """What the MTA said about a message before its header: everything policy starts from."""

    login: str | None = None
    """``{auth_authen}`` as the client typed it; ``None`` without a login."""
    client: str | None = None
    """Address of the SMTP client, textual; ``None`` for mail that did not come over the network."""
    sender: str = ""
    """MAIL FROM without brackets; empty for the null reverse path."""
    recipients: tuple[str, ...] = ()
    """RCPT TO without brackets, in order, as accepted by the MTA."""
    submitted_locally: bool = False
    """Whether sendmail(1)/pickup injected the message: its sender is not authenticated."""
    daemon_port: int | None = None
    """``{daemon_port}``: the port of the MTA that the client connected to, when asked for and sent."""


class Headers(Struct, frozen=True, kw_only=True):
    """The header fields that policy asked for (``Decision.headers_needed``).

    Values are text with ``surrogateescape`` for bytes that are not UTF-8, folding kept.
    """

    fields: tuple[tuple[str, str], ...] = ()
    """Name in lower case and value, in message order."""
    cut: frozenset[str] = frozenset()
    """The names (lower case) that the message has more fields of than stand here."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of every field called ``name`` (lower case), in message order."""
        return tuple(value for field_name, value in self.fields if field_name == name)


class Identity(Struct, frozen=True, kw_only=True):
    """Who is really sending, and how we know."""

    source: IdentitySource
    address: Address | None = None
    """The account's primary address; without an entry, the address as given."""
    dn: str | None = None


def has_raw_octets(text: str) -> bool:
    """Tell whether text of a message holds octets that are not UTF-8, which stand in it as surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in text)


class HandledMessage(Struct, frozen=True, kw_only=True):
    """A message that has been decided, as log and audit name it."""

    queue_id: str
    """Postfix's (macro ``i``); empty where there is none yet."""
    envelope: Envelope
    message_ids: tuple[str, ...] | None = None
    """The values of the Message-ID fields that came; ``None`` where the header was not read."""
    old_from: tuple[str, ...] | None = None
    """The values of the From fields that came; ``None`` where they were not read."""
    address_test: bool = False
    """Whether it has the header of a test of addresses (``sendmail -bv``), of which nothing is delivered."""
    probe: bool = False
    """Whether ``ldapmilter probe`` sent it: nothing of it is delivered."""
    ended_at: float | None = None
    """When its end came, since which the MTA waits (monotonic seconds); ``None`` before its end."""
