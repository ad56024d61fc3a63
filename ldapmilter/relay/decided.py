"""What a decision says of one copy that travels by the relay: read from the audit's record of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class Decided(Struct, frozen=True, kw_only=True):
    """One copy, and the message that it is of as the milter saw it."""

    token: str
    target: str
    """Where the copy goes."""
    classes: tuple[str, ...]
    """The copy classes that asked for it."""
    refs: tuple[str, ...]
    """``ref=`` of the values that asked for it, each once."""
    queue_id: str
    time: str
    """When it was decided: ISO 8601, UTC, as the audit writes it."""
    sender: str
    """Who sent the message: the identity's address, else the envelope sender; empty: nobody (``<>``)."""
    identified: bool
    """Whether the sender is known, by login or by a mailbox server: then its header says who was in To and Cc."""
    offered: tuple[str, ...]
    """The recipients of the envelope, copies not among them."""


def decided(record: Mapping[str, Any], token: str) -> Decided | None:
    """Return what a record of the audit says of the copy with a token; ``None``: it has no such copy."""
    for copy in record["copies"]:
        if copy.get("token") == token:
            identity = record["identity"]
            identified = identity["source"] != "none"
            named = identity["address"] if identified else None
            return Decided(
                token=token,
                target=copy["address"],
                classes=tuple(copy["classes"]),
                refs=tuple(dict.fromkeys(reason["ref"] for reason in copy["reasons"] if reason["ref"])),
                queue_id=record["queue_id"],
                time=record["time"],
                sender=named or record["sender"],
                identified=identified,
                offered=tuple(record["offered"]),
            )
    return None
