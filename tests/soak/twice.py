"""Mail that is in a mailbox twice: whose doing that is, by its queue id and Postfix's log. Pure.

A Postfix that is ended after a delivery, and before its queue says so, delivers again at its next start. Whoever hands
mail in and loses the answer to the final dot hands it in again (RFC 5321, 4.5.3.2.6). There is no third cause.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_QUEUE_ID: Final = re.compile(rb"^Received: .*?\sid (\w+)", re.MULTILINE | re.DOTALL)
_STARTED: Final = "daemon started"

ENDED: Final = "mail twice: Postfix was ended before it had noted the delivery"
HANDED_IN: Final = "mail twice: the answer was lost, and it was handed in again"


def queue_id(message: bytes) -> str:
    """Return the queue id under which Postfix delivered a message."""
    found = _QUEUE_ID.search(message)
    return found[1].decode("ascii") if found is not None else ""


def causes(person: str, messages: Sequence[bytes], log: str, *, handed_in: int) -> Iterator[str]:
    """Say for each message too many in a mailbox why it is there: :data:`ENDED`, :data:`HANDED_IN`, or what is wrong.

    Args:
        person: whose mailbox it is.
        messages: those in it that were handed in as one.
        log: Postfix's.
        handed_in: how often they may have been handed in, answers that were lost included.
    """
    found = Counter(map(queue_id, messages))
    for number in range(1, len(found)):
        yield (
            HANDED_IN if number < handed_in else f"{person} has it as {', '.join(sorted(found))}: it was handed in once"
        )
    for name, count in found.items():
        ends = _ended_while_under_way(log.splitlines(), name, person)
        for number in range(1, count):
            if number <= ends:
                yield ENDED
            else:
                yield f"{person} has {name} {count} times; Postfix was ended {ends} times while it was under way"


def _ended_while_under_way(lines: Sequence[str], name: str, person: str) -> int:
    """Return how often Postfix was started again between a message's first line and its last delivery to somebody."""
    first = next((number for number, line in enumerate(lines) if f" {name}: " in line), len(lines))
    told = [number for number, line in enumerate(lines) if f" {name}: to=<{person}>" in line and "status=sent" in line]
    return sum(_STARTED in line for line in lines[first : max(told, default=first)])
