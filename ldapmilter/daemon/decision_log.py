"""One log line per decision: queue id first, key=value, nothing that a mail log may not hold.

The mail log is read by many: it never says that a confidential copy exists, nor where it goes.

The line of a message that waits is made of its envelope alone. Whatever it waits for, a directory
that does not answer or an invalid legal value, text and level are the same: what only the second
could cause would tell who is under a legal hold. The cause stands in the audit. A list that
everybody waits for is named, since it says nothing about a person.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from ldapmilter.plain import plain
from ldapmilter.policy.identity import as_claimed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ldapmilter.message import HandledMessage, Identity
    from ldapmilter.policy.effect import Reason
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.settings import Policy

_NEEDS_QUOTES = re.compile(r'[ "=\\]')


def line(message: HandledMessage, decision: Decision, policy: Policy, *, verbose: bool = False) -> str | None:
    """Return the line for a message that had an effect or a problem; ``None`` when there is none to tell.

    A message of which a confidential copy is all that happens has no line: its line would tell.

    Args:
        message: what was decided on.
        decision: the outcome.
        policy: tells which copies are confidential.
        verbose: whether messages without effect and problem get a line too.
    """
    if decision.applied_verdict == "tempfail":
        return held(message, decision)
    happened = list(_happened(decision, policy))
    if not happened and decision.told_verdict == "accept" and not message.probe and not verbose:
        return None
    fields = [
        *([("decided_before", decision.decided_before)] if decision.decided_before is not None else []),
        *([("mode", decision.mode)] if decision.mode != "apply" else []),
        *happened,
    ]
    return _line(message, decision.told_verdict, decision.identity, fields)


def held(message: HandledMessage, decision: Decision) -> str:
    """Return the line for a message that waits, for whatever cause."""
    causes = [("warning", notice.text) for notice in decision.warnings if notice.of_list]
    return _line(message, "tempfail", as_claimed(message.envelope), causes)


def level(decision: Decision) -> int:
    """Return how loud the line is: a warning where mail waits, is refused, or goes on although something is wrong."""
    wrong = any(notice.error and not notice.confidential for notice in decision.warnings)
    loud = decision.applied_verdict != "accept" or wrong or any(_incomplete(decision))
    return logging.WARNING if loud else logging.INFO


def _line(message: HandledMessage, verdict: str, identity: Identity, further: Iterable[tuple[str, str]]) -> str:
    envelope = message.envelope
    fields = [
        ("verdict", verdict),
        ("identity", identity.source if identity.address is None else f"{identity.source}:{identity.address}"),
        ("mail_from", f"<{envelope.sender}>"),
        ("nrcpt", str(len(envelope.recipients))),
        *([("probe", "yes")] if message.probe else []),
        *further,
    ]
    queue_id = plain(message.queue_id) or "NOQUEUE"
    return f"{queue_id}: " + " ".join(f"{name}={_quoted(value)}" for name, value in fields)


def _happened(decision: Decision, policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the effects and problems that may be named."""
    if decision.refusal is not None:
        yield ("refused_from", decision.refusal.address)
        yield from (("refused_reason", _reason(reason)) for reason in decision.refusal.reasons[:1])
    for effect in (effect for effect in decision.effects if effect.made):
        if (reasons := effect.public_reasons(policy.confidential)) is not None:
            (name, value), *more = effect.told
            yield (name if effect.mode == "apply" else f"would_{name}", value)
            yield from more
            yield from ((f"{name}_reason", _reason(reason)) for reason in reasons[:1])
    yield from (("warning", notice.text) for notice in decision.warnings if not notice.confidential)
    yield from (("incomplete", text) for text in _incomplete(decision))
    if decision.stale:
        yield ("stale", "yes")


def _incomplete(decision: Decision) -> list[str]:
    """Return what could not be known, as far as it may be named."""
    if not decision.incomplete:
        return []
    secret = {notice.text for notice in decision.warnings if notice.confidential}
    return [text for text in decision.incomplete if text not in secret]


def _reason(reason: Reason) -> str:
    path = f" via {' > '.join(reason.group_path)}" if reason.group_path else ""
    by_whom = f" for {reason.recipient}" if reason.recipient else ""
    return f"{reason.level} {reason.attribute} at {reason.dn}{by_whom}{path}"


def _quoted(value: str) -> str:
    """Return a value that cannot break out of its line or its field."""
    if value and value.isprintable() and not _NEEDS_QUOTES.search(value):
        return value
    escaped = plain(value.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'
