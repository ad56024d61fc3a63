"""The last messages of one worker and what was decided on each, those without any effect too: for ``trace``.

A message costs an append. Of one to which nothing applies, which most are, a few hundred octets are kept in one
piece; of any other the objects that there are already. They are put into words when they are asked for.

Who may read the audit is shown the record that the audit would have; anybody else who may ask the daemon what the
mail log would say, which names no confidential copy and no cause of a message's wait.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from ldapmilter.address import envelope_address
from ldapmilter.audit.criteria import Criteria
from ldapmilter.audit.record import record
from ldapmilter.daemon import decision_log
from ldapmilter.message import Envelope, HandledMessage
from ldapmilter.policy.model import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.address import Address
    from ldapmilter.audit.record import AuditRecord
    from ldapmilter.daemon.channel import Message
    from ldapmilter.message import Identity
    from ldapmilter.policy.effect import Copy, Mode
    from ldapmilter.policy.settings import Policy

_MOST_OCTETS = 32 << 20
"""What all of them may weigh; the last one is kept whatever it weighs."""
_ONE, _RECIPIENT = 2_000, 200
"""Octets that a message is taken to weigh, and each of its recipients. What was decided does not count: who sees
messages go would see that one had a confidential copy. So a decision is kept up to a bound of its own."""
_MOST_REASONS = 40
"""Of all copies of a message: of one with more, the copies with the first ones are kept."""
_MOST_NOTICES = 20
_MOST_TOLD = 1 << 20
"""Octets of one message that are told; of a larger one, its line in the log."""
_MOST_ANSWERED = 8 << 20
"""Octets of an answer, which has to fit the channel to the parent."""
_MOST_LINE = 8_000


class _Remembered(NamedTuple):
    """One message."""

    at: float
    """Seconds since the epoch."""
    octets: int
    message: HandledMessage
    decision: Decision
    policy: Policy
    left_out: int = 0
    """How many copies are not kept."""
    line: str | None = None
    """What the mail log says, where the decision is not kept whole."""


_Plain = tuple[float, int, str, "Identity", "Mode", "Policy"]
"""A message to which nothing applies: time and octets, as above; what is known of it, in one text; what was decided."""
_FEW_RECIPIENTS = 20
"""Of a message that weighs next to nothing."""
_SPARE = 64
"""Messages beyond the bound that are let go together: one by one costs more."""
_BETWEEN, _NONE = "\0", "\1"
"""Neither can be in what comes from libmilter in C, or on a line of SMTP."""


def _unpacked(one: _Plain) -> _Remembered:
    at, octets, packed, identity, mode, policy = one
    queue_id, login, client, port, local, sender, *recipients = packed.split(_BETWEEN)
    envelope = Envelope(
        login=None if login == _NONE else login,
        client=None if client == _NONE else client,
        daemon_port=None if port == _NONE else int(port),
        submitted_locally=bool(local),
        sender=sender,
        recipients=tuple(recipients),
    )
    message = HandledMessage(queue_id=queue_id, envelope=envelope)
    return _Remembered(at, octets, message, Decision(identity=identity, mode=mode), policy)


class RecentMessages:
    """What one worker has decided last; many threads add to it."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.since = time.time()
        """From when on every message is remembered: seconds since the epoch."""
        self.forgotten = 0
        """How many messages are too old to be remembered."""
        self._messages: deque[_Remembered | _Plain] = deque()
        self._octets = 0
        self._most = 0
        self._lock = threading.Lock()

    def keep(self, message: HandledMessage, decision: Decision, policy: Policy, most: int) -> None:
        """Remember a message, and forget the oldest ones beyond the bounds.

        Args:
            message: what was decided on.
            decision: the outcome.
            policy: what counted then: it tells which copies are confidential.
            most: how many messages may be remembered.
        """
        envelope = message.envelope
        recipients = envelope.recipients
        messages = self._messages
        # All in one place, and without a lock: every message comes this way, most of them through the first branch.
        if (
            decision.uneventful
            and message.message_ids is None
            and message.old_from is None
            and not message.probe
            and len(recipients) <= _FEW_RECIPIENTS
        ):
            login, client, port = envelope.login, envelope.client, envelope.daemon_port
            packed = _BETWEEN.join(
                (
                    message.queue_id,
                    _NONE if login is None else login,
                    _NONE if client is None else client,
                    _NONE if port is None else str(port),
                    "x" if envelope.submitted_locally else "",
                    envelope.sender,
                    *recipients,
                )
            )
            messages.append((time.time(), 0, packed, decision.identity, decision.mode, policy))
        else:
            self._keep_whole(message, decision, policy)
        self._most = most
        if len(messages) > most + _SPARE or self._octets > _MOST_OCTETS:
            self._forget()

    def _keep_whole(self, message: HandledMessage, decision: Decision, policy: Policy) -> None:
        count = len(message.envelope.recipients)
        octets = 0 if count <= _FEW_RECIPIENTS else _ONE + count * _RECIPIENT  # whatever was decided
        if message.old_from is not None:
            octets += sum(map(len, message.old_from))
        one = _Remembered(time.time(), octets, message, decision, policy)
        if _is_large(decision):
            one = _abridged(one)
        with self._lock:
            self._octets += octets
            self._messages.append(one)

    def _forget(self) -> None:
        """Let the oldest messages beyond the bounds go."""
        with self._lock:
            messages = self._messages
            while len(messages) > self._most or (self._octets > _MOST_OCTETS and len(messages) > 1):
                gone = messages.popleft()
                self.since = gone[0]
                self._octets -= gone[1]
                self.forgotten += 1

    def find(self, *, queue_id: str | None, address: Address | None, most: int, reads_audit: bool) -> Message:
        """Return the last messages that answer to what is asked for, the oldest first.

        Args:
            queue_id: Postfix's; ``None``: any.
            address: of a party; ``None``: any. Whoever may not read the audit finds a message by its envelope alone.
            most: how many.
            reads_audit: whether whoever asks may read the audit.
        """
        self._forget()
        with self._lock:
            messages, since, forgotten = list(self._messages), self.since, self.forgotten
        told: list[Message] = []
        octets = 0
        for kept in reversed(messages):
            one = kept if isinstance(kept, _Remembered) else _unpacked(kept)
            if queue_id is not None and one.message.queue_id != queue_id:
                continue
            told_of = _all_of_it(one, address) if reads_audit else _what_the_log_says(one, address)
            if told_of is None:
                continue
            octets += len(json.dumps(told_of))
            if (told and octets > _MOST_ANSWERED) or len(told) == most:
                break
            told.append(told_of)
        return {"messages": told[::-1], "since": since, "forgotten": forgotten, "remembered": len(messages)}


def _is_large(decision: Decision) -> bool:
    reasons = sum([len(copy.reasons) for copy in decision.copies])
    return reasons > _MOST_REASONS or len(decision.warnings) > _MOST_NOTICES


def _abridged(one: _Remembered) -> _Remembered:
    """Return a message without most of what was decided, and what the mail log says of all of it."""
    copies: list[Copy] = []
    room = _MOST_REASONS
    for copy in one.decision.copies:
        if room <= 0:
            break
        copies.append(replace(copy, reasons=copy.reasons[:room]))
        room -= len(copy.reasons)
    decision = replace(one.decision, copies=tuple(copies), warnings=one.decision.warnings[:_MOST_NOTICES])
    return one._replace(decision=decision, left_out=len(one.decision.copies) - len(copies), line=_line(one))


def _all_of_it(one: _Remembered, address: Address | None) -> Message | None:
    """Return a message for those who may read the audit; ``None``: it does not name the address."""
    found = _record(one)
    if address is not None and not Criteria(address=address).hold(found):
        return None
    if len(json.dumps(found)) > _MOST_TOLD:
        return {"at": one.at, "queue_id": one.message.queue_id, "line": _line(one)}
    return {"at": one.at, "queue_id": one.message.queue_id, "record": found}


def _record(one: _Remembered) -> AuditRecord:
    found = record(
        time=datetime.fromtimestamp(one.at, timezone.utc),
        host=socket.gethostname(),
        worker=os.getpid(),
        message=one.message,
        decision=one.decision,
    )
    if one.line is not None:
        found["warnings"].append(f"not all is remembered ({one.left_out} more copies): ldapmilter audit find has it")
    return found


def _what_the_log_says(one: _Remembered, address: Address | None) -> Message | None:
    """Return a message for those who may not read the audit; ``None``: the address is not in its envelope."""
    if address is not None and address.key not in _keys_of_envelope(one.message):
        return None
    return {"at": one.at, "queue_id": one.message.queue_id, "line": _line(one)}


def _keys_of_envelope(message: HandledMessage) -> Iterator[str]:
    envelope = message.envelope
    for text in (envelope.sender, envelope.login or "", *envelope.recipients):
        if (address := envelope_address(text)) is not None:
            yield address.key


def _line(one: _Remembered) -> str:
    if one.line is not None:
        return one.line
    line = decision_log.line(one.message, one.decision, one.policy, verbose=True) or ""
    return line if len(line) <= _MOST_LINE else f"{line[:_MOST_LINE]} ..."
