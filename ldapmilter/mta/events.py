"""A message as the series of events that an MTA reports to a milter."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import strip_brackets
from ldapmilter.mta.transaction import EnvelopeAddress, Transaction
from ldapmilter.mta.wire import CHUNK_BYTES, Stage, strings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.mta.headers import Header

_BARE_LF = re.compile(rb"\r?\n")


class Step(Struct, frozen=True, kw_only=True):
    """One event on its way."""

    stage: Stage
    payload: bytes = b""
    recipient: EnvelopeAddress | None = None


def greeting(transaction: Transaction) -> Iterator[Step]:
    """Yield the events with which an SMTP session begins (milter8_conn_event, milter8_helo_event)."""
    client = transaction.client
    name = f"[{client.address}]" if client.name == "unknown" != client.address else client.name
    where = b"" if client.family == b"U" else struct.pack("!H", client.port) + strings([raw(client.address)])
    yield Step(stage=Stage.CONNECT, payload=strings([raw(name)]) + client.family + where)
    if client.helo is not None:
        yield Step(stage=Stage.HELO, payload=strings([raw(client.helo)]))


def message(transaction: Transaction, *, leading_space: bool) -> Iterator[Step]:
    """Yield the events of one message in order, from MAIL to end-of-message.

    ``leading_space``: the milter wants the blank after the colon, too (SMFIP_HDR_LEADSPC).
    """
    sender = EnvelopeAddress(address=strip_brackets(transaction.sender), parameters=transaction.sender_parameters)
    yield Step(stage=Stage.MAIL, payload=_path(sender, transaction))
    for recipient in transaction.envelope_recipients:
        yield Step(stage=Stage.RCPT, payload=_path(recipient, transaction), recipient=recipient)
    yield Step(stage=Stage.DATA)
    space = b" " if leading_space else b""
    for name, value in raw_headers(transaction):
        yield Step(stage=Stage.HEADER, payload=strings([name, space + value]))
    yield Step(stage=Stage.EOH)
    body = _with_crlf(transaction.body)
    for start in range(0, len(body), CHUNK_BYTES):
        yield Step(stage=Stage.BODY, payload=body[start : start + CHUNK_BYTES])
    yield Step(stage=Stage.EOM)


def _path(address: EnvelopeAddress, transaction: Transaction) -> bytes:
    """Return the arguments of MAIL or RCPT: the address, and each ESMTP parameter."""
    path = f"<{address.address}>" if transaction.bracketed else address.address
    return strings(raw(text) for text in (path, *address.parameters))


def raw_headers(transaction: Transaction) -> list[Header]:
    """Return the headers as bytes, cut off at a NUL as the C strings of an MTA are."""
    return [(raw(name).partition(b"\0")[0], raw(value).partition(b"\0")[0]) for name, value in transaction.headers]


def _with_crlf(body: bytes) -> bytes:
    """Return a body in lines that all end in CR LF, the last one too."""
    if body.count(b"\n") != body.count(b"\r\n"):
        body = _BARE_LF.sub(b"\r\n", body)
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def raw(text: str | bytes) -> bytes:
    """Return text as the bytes that travel: UTF-8, surrogate escapes as the bytes they stand for."""
    return text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
