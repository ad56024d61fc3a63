"""What native/load.c sends, as a file: macro packet and event of every step, and what has to come back.

The steps and the macros are those of ldapmilter's own MTA side (ldapmilter/mta/client.py), which
the tests hold against a real Postfix. Which of them are sent, and when the driver waits, it decides
by itself from what the milter negotiates.

A number is 32 bits in network order; a text is its size, the NUL at its end included, and itself.

    "LMB1", bytes of a body, steps of the greeting, number of messages, and for each message:
    recipients that are to be added, what their address contains, header fields that are to get a
    value, what the value contains, steps

    steps: their number, and for each the command byte, size and bytes of the macros (without the
    command that they are for), size and bytes of the event's arguments
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from benchmarks import company
from ldapmilter.mta.events import greeting, message, raw
from ldapmilter.mta.transaction import available_macros, macros_for
from ldapmilter.mta.wire import EVENTS, SYMBOL_STAGES, Stage, strings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.company import Kind
    from ldapmilter.mta.events import Step
    from ldapmilter.mta.transaction import Transaction
    from ldapmilter.mta.wire import Negotiated


def write_script(
    path: Path, transactions: Sequence[Transaction], body_bytes: int, negotiated: Negotiated, expected: Kind
) -> None:
    """Write the script for some messages of one client, to a milter that asks for certain macros.

    Args:
        path: the file.
        transactions: the messages; their bodies are left out.
        body_bytes: the size of the body that each gets.
        negotiated: what the milter answered to a negotiation.
        expected: what it has to do to each message.
    """
    copies, froms = int(expected in {"copy", "both"}), int(expected in {"rewrite", "both"})
    wanted = _number(copies) + _text(company.VAULT) + _number(froms) + _text(company.NEW_FROM)
    parts = [b"LMB1", _number(body_bytes), _steps(greeting(transactions[0]), transactions[0], negotiated)]
    parts.append(_number(len(transactions)))
    for one in transactions:
        steps = (step for step in message(one, leading_space=False) if step.stage is not Stage.BODY)
        parts += [wanted, _steps(steps, one, negotiated)]
    path.write_bytes(b"".join(parts))


def _steps(steps: Iterable[Step], transaction: Transaction, negotiated: Negotiated) -> bytes:
    parts: list[bytes] = []
    recipients = 0
    for step in steps:
        # An SMTP session has a queue id from its first accepted recipient on.
        macros = _macros(step, transaction, negotiated, has_queue_id=recipients > 0)
        recipients += step.recipient is not None
        parts += [EVENTS[step.stage].command, _number(len(macros)), macros, _number(len(step.payload)), step.payload]
    return _number(len(parts) // 5) + b"".join(parts)


def _macros(step: Step, transaction: Transaction, negotiated: Negotiated, *, has_queue_id: bool) -> bytes:
    stage = SYMBOL_STAGES[EVENTS[step.stage].symbols]
    macros = macros_for(stage, transaction, step.recipient, has_queue_id=has_queue_id)
    if stage in negotiated.symbols:
        known = available_macros(transaction) | macros
        names = (
            name if len(name) == 1 or name.startswith("{") else f"{{{name}}}" for name in negotiated.symbols[stage]
        )
        macros = {name: known[name] for name in names if name in known}
    return strings(raw(text) for pair in macros.items() for text in pair)


def _number(value: int) -> bytes:
    return struct.pack("!I", value)


def _text(value: str) -> bytes:
    return _number(len(value) + 1) + value.encode() + b"\0"
