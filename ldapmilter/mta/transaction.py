"""What an MTA tells a milter about one message, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003 - typing.get_type_hints works on these classes
from enum import Enum
from ipaddress import ip_address

from msgspec import Struct, field

from ldapmilter.address import strip_brackets
from ldapmilter.mta.headers import Header, HeaderModification  # noqa: TC001 - as above
from ldapmilter.mta.wire import Stage


class Verdict(str, Enum):
    """What happens to the message."""

    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    DISCARD = "discard"


class Client(Struct, frozen=True, kw_only=True):
    """The SMTP client at the other end of the session, as the MTA knows it."""

    name: str = "localhost"
    """Host name; ``unknown`` where there is none."""
    address: str = "127.0.0.1"
    """IPv4 or IPv6 address without brackets, or ``unknown``."""
    port: int = 0
    helo: str | None = "localhost"
    """The argument of HELO or EHLO; ``None``: the client gave none."""

    @property
    def family(self) -> bytes:
        """SMFIA_INET, SMFIA_INET6 or SMFIA_UNKNOWN."""
        try:
            return b"6" if ip_address(self.address).version == 6 else b"4"
        except ValueError:
            return b"U"


class EnvelopeAddress(Struct, frozen=True, kw_only=True):
    """One address of an envelope with the ESMTP parameters that follow it."""

    address: str
    """Without angle brackets; empty is the null sender."""
    parameters: tuple[str, ...] = ()
    """Such as ``NOTIFY=NEVER``."""


class Transaction(Struct, frozen=True, kw_only=True):
    """One message with its envelope, as an MTA passes it to a milter.

    Text is sent as UTF-8 with surrogate escapes, bytes as they are.

    Raises:
        ValueError: there is no recipient, or an envelope value holds a NUL.
    """

    sender: str
    """With or without angle brackets; empty is the null sender."""
    recipients: Sequence[str | EnvelopeAddress]
    headers: Sequence[tuple[str | bytes, str | bytes]] = ()
    """Name and value, in order, the value without the one blank after the colon."""
    body: bytes = b""
    """LF or CRLF line ends; sent with CRLF, in chunks of 65535 bytes."""
    login: str | None = None
    """{auth_authen}: the SASL login; ``None``: the client did not authenticate."""
    auth_type: str = "PLAIN"
    """{auth_type}, where there is a login."""
    sender_parameters: tuple[str, ...] = ()
    """ESMTP parameters of MAIL, such as ``SIZE=1000``."""
    queue_id: str = "4Probe0Message0"
    daemon_name: str = "localhost"
    """$myhostname of the MTA: macros ``j`` and {daemon_name}."""
    macros: Mapping[Stage, Mapping[str, str]] = field(default_factory=dict)
    """More macros by stage, as ``milter_connect_macros`` and its kin in main.cf add them."""
    bracketed: bool = True
    """False: as Postfix passes mail of sendmail(1): addresses without brackets, the queue id from MAIL on."""
    client: Client = Client()

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ValueError("a transaction needs a recipient: an MTA sends no message without one")
        texts = [self.sender, *self.sender_parameters, self.login or "", self.queue_id, self.client.helo or ""]
        for recipient in self.envelope_recipients:
            texts += [recipient.address, *recipient.parameters]
        if any("\0" in text for text in texts):
            raise ValueError("an envelope holds no NUL")

    @property
    def envelope_recipients(self) -> tuple[EnvelopeAddress, ...]:
        """The recipients, all in one form."""
        return tuple(
            EnvelopeAddress(
                address=strip_brackets(recipient if isinstance(recipient, str) else recipient.address),
                parameters=() if isinstance(recipient, str) else recipient.parameters,
            )
            for recipient in self.recipients
        )


class RejectedRecipient(Struct, frozen=True, kw_only=True):
    """A recipient that the milter refused while the message went on."""

    address: str
    reply: str


class TransactionOutcome(Struct, frozen=True, kw_only=True):
    """What a milter did to one message, and what it cost."""

    verdict: Verdict
    stage: Stage
    """Where the verdict fell; end-of-message when the milter let the message pass to the end."""
    reply: str | None
    """What the SMTP client would be told (``451 4.3.0 ...``); ``None`` when the message is taken."""
    headers_after: tuple[Header, ...]
    """The headers of the message as the MTA would deliver it, without the MTA's own Received."""
    header_modifications: tuple[HeaderModification, ...] = ()
    """In the order received."""
    added_recipients: tuple[EnvelopeAddress, ...] = ()
    """In the order received."""
    deleted_recipients: tuple[str, ...] = ()
    changed_sender: str | None = None
    """The new envelope sender without brackets; its ESMTP parameters are dropped, as Postfix drops them."""
    recipients_rejected: tuple[RejectedRecipient, ...] = ()
    replaced_body: bytes | None = None
    quarantine: str | None = None
    """The reason for which the message is to be held."""
    packets_sent: int = 0
    """Macro packets and the closing abort included, the negotiation not."""
    bytes_sent: int = 0
    replies_awaited: int = 0
    """How often the MTA had to stop and wait."""
    seconds: float = 0.0


def macros_for(
    stage: Stage, transaction: Transaction, recipient: EnvelopeAddress | None = None, *, has_queue_id: bool = True
) -> dict[str, str]:
    """Return the macros of a stage as Postfix sends them by default (``milter_*_macros`` in postconf(5)).

    ``recipient`` is that of RCPT; ``has_queue_id`` says whether a recipient was accepted before,
    which is when an SMTP session has a queue id. A macro without a value is absent, not empty.
    """
    client = transaction.client
    macros: dict[str, str] = {}
    if stage is Stage.CONNECT:
        macros = {
            "j": transaction.daemon_name,
            "{daemon_name}": transaction.daemon_name,
            "{daemon_addr}": "127.0.0.1",
            "v": "Postfix",
            "_": f"{client.name} [{client.address}]",
        }
    elif stage is not Stage.HELO and (has_queue_id or not transaction.bracketed):
        macros["i"] = transaction.queue_id
    if stage is Stage.MAIL:
        if transaction.login is not None:
            macros |= {"{auth_type}": transaction.auth_type, "{auth_authen}": transaction.login}
        macros |= _resolved("mail", strip_brackets(transaction.sender), transaction)
    elif stage is Stage.RCPT and recipient is not None:
        macros |= _resolved("rcpt", recipient.address, transaction)
    return macros | dict(transaction.macros.get(stage, {}))


def available_macros(transaction: Transaction) -> dict[str, str]:
    """Return the macros that a milter can ask for in any stage beyond the defaults (SETSYMLIST)."""
    client = transaction.client
    return macros_for(Stage.CONNECT, transaction) | {
        "{client_name}": client.name,
        "{client_ptr}": client.name,
        "{client_addr}": client.address,
        "{client_port}": str(client.port),
    }


def _resolved(prefix: str, address: str, transaction: Transaction) -> dict[str, str]:
    """Return the three address macros; mail of sendmail(1) has the first only."""
    macros = {f"{{{prefix}_addr}}": address}
    if transaction.bracketed:
        _, at, domain = address.rpartition("@")
        host = domain if at else transaction.daemon_name
        macros |= {f"{{{prefix}_host}}": host, f"{{{prefix}_mailer}}": "smtp"}
    return macros
