"""What is looked for in the audit: a message, an address, a day."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ldapmilter.address import Address, envelope_address
from ldapmilter.mailbox.reading import read_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from ldapmilter.audit.record import AuditRecord

_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9._+=-]+\Z")


class Criteria(Struct, frozen=True, kw_only=True):
    """What a record has to be about; all that is given has to hold."""

    message_id: str | None = None
    queue_id: str | None = None
    address: Address | None = None
    day: date | None = None
    """In UTC."""

    def may_hold(self, record: dict[str, Any], line: bytes) -> bool:
        """Whether a record is worth a closer look; it need not have the shape of one yet."""
        return (
            (self.day is None or record["time"].startswith(self.day.isoformat()))
            and (self.queue_id is None or record["queue_id"] == self.queue_id)
            and (self.message_id is None or self.message_id in (ids := _message_ids(record)) or not ids)
            and (self.address is None or _may_name(line, self.address))
        )

    def hold(self, record: AuditRecord) -> bool:
        """Whether a record for which :meth:`may_hold` holds answers to all of them, if only it has a Message-ID."""
        return self.address is None or self.address.key in _address_keys(record)

    def miss_message_id(self, record: AuditRecord) -> bool:
        """Whether a Message-ID is looked for, and none is known of a record."""
        return self.message_id is not None and not _message_ids(record)


def _may_name(line: bytes, address: Address) -> bool:
    """Whether a line may name an address; saves reading every address of most records.

    A plain local part stands in the line as it is, in whatever case, unless backslashes spell it.
    """
    if not _PLAIN_LOCAL.match(address.local) or b"\\\\" in line:
        return True
    return address.local.lower().encode("ascii") in line.lower()


def bare_message_id(text: str) -> str:
    """Return a Message-ID as it is compared: without blanks and brackets, in lower case."""
    return text.strip().removeprefix("<").removesuffix(">").strip().lower()


def _message_ids(record: Mapping[str, object]) -> set[str]:
    """Return the Message-IDs of a record, as they are compared; it need not have the shape of one yet."""
    listed = record.get("message_ids")
    values = listed if isinstance(listed, list) else [record.get("message_id")]
    return {bare_message_id(value) for value in values if isinstance(value, str)} - {""}


def _address_keys(record: AuditRecord) -> set[str]:
    """Return the key of every address that a record names."""
    found = {_key(text) for text in _addresses(record)}
    if (change := record["from"]) is not None:
        headers = [read_from([value]) for value in (*(change["old"] or ()), change["value"])]
        found |= {mailbox.address.key for header in headers for mailbox in header.mailboxes}
    return found - {None}  # type: ignore[return-value] # no None is left


def _addresses(record: AuditRecord) -> Iterator[str]:
    yield record["sender"]
    yield from record["offered"]
    yield record["login"] or ""
    # Every effect has its reasons, of whatever kind it is. Those of header fields came later.
    for part in record.values():
        for effect in part if isinstance(part, list) else [part]:
            if isinstance(effect, dict):
                yield effect.get("address") or ""
                for reason in effect.get("reasons", ()):
                    yield reason["recipient"] or ""
                    yield from reason["group_path"]


def _key(text: str) -> str | None:
    address = envelope_address(text)
    return address.key if address is not None else None
