"""A message without a real sender through the running milter, marked as a probe, and the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ldapmilter.message import PROBE_MACRO
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Client, Transaction
from ldapmilter.mta.wire import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.message import Envelope
    from ldapmilter.socket_address import SocketAddress

_OUTSIDER = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): a client outside every site."""


class AddedRecipient(TypedDict):
    """A copy that the milter asked for."""

    address: str
    parameters: list[str]


class ChangedField(TypedDict):
    """The fields of one name besides From, where the milter changed any."""

    name: str
    before: list[str]
    after: list[str]


class ProbeReport(TypedDict):
    """What the milter did with a probe."""

    verdict: str
    smtp_reply: str | None
    from_before: list[str]
    from_after: list[str]
    headers: list[ChangedField]
    envelope_sender: str | None
    """The new one; ``None``: it stays."""
    copies: list[AddedRecipient]
    replaced: list[str]
    """Recipients whose place a copy took."""
    seconds: float


def probe(
    address: SocketAddress, envelope: Envelope, fields: Sequence[tuple[bytes, bytes]], body: bytes, seconds: float
) -> ProbeReport:
    """Pass a message through the milter at an address, as an MTA would, within so many seconds.

    Raises:
        DaemonUnreachable: it does not answer, or is not a milter; ``ConnectError`` where it cannot be connected to.
    """
    transaction = Transaction(
        sender=envelope.sender,
        recipients=list(envelope.recipients),
        headers=list(fields),
        body=body or b"probe\r\n",
        login=envelope.login,
        queue_id="PROBE",
        macros=_macros(envelope),
        client=Client(name="probe.invalid", address=envelope.client or _OUTSIDER, port=25),
    )
    with MilterClient.connect(address, timeout=seconds) as client:
        outcome = client.run(transaction)
        client.quit()
    return ProbeReport(
        verdict=outcome.verdict.value,
        smtp_reply=outcome.reply,
        from_before=_values(fields, "from"),
        from_after=_values(outcome.headers_after, "from"),
        headers=_changed(fields, outcome.headers_after),
        envelope_sender=outcome.changed_sender,
        copies=[
            AddedRecipient(address=added.address, parameters=list(added.parameters))
            for added in outcome.added_recipients
        ],
        replaced=list(outcome.deleted_recipients),
        seconds=round(outcome.seconds, 6),
    )


def _macros(envelope: Envelope) -> dict[Stage, dict[str, str]]:
    port = {} if envelope.daemon_port is None else {"{daemon_port}": str(envelope.daemon_port)}
    # Not with the connection: the milter names the macros that it wants there.
    return {Stage.CONNECT: port, Stage.MAIL: {PROBE_MACRO: "yes"}}


def _values(fields: Sequence[tuple[bytes, bytes]], name: str) -> list[str]:
    return [
        " ".join(value.decode("utf-8", "backslashreplace").split())
        for field, value in fields
        if _name(field).lower() == name
    ]


def _name(field: bytes) -> str:
    return field.strip().decode("ascii", "backslashreplace")


def _changed(before: Sequence[tuple[bytes, bytes]], after: Sequence[tuple[bytes, bytes]]) -> list[ChangedField]:
    spelled = {_name(field).lower(): _name(field) for field, _ in (*before, *after)}
    found = [
        ChangedField(name=shown, before=_values(before, name), after=_values(after, name))
        for name, shown in spelled.items()
        if name != "from"
    ]
    return [one for one in found if one["before"] != one["after"]]
