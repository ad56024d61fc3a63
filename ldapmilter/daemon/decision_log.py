"""One log line per decision: queue id first, key=value, nothing that a mail log may not hold.

The mail log is read by many: it never says that a confidential copy exists, nor where it goes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.message import HandledMessage
    from ldapmilter.policy.model import Copy, Decision, Policy, Reason

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
    happened = list(_happened(decision, policy))
    if not happened and decision.verdict == "accept" and not message.probe and not verbose:
        return None
    envelope = message.envelope
    identity = decision.identity
    fields = [
        ("verdict", decision.verdict if decision.verdict_mode == "apply" else f"would-{decision.verdict}"),
        ("identity", identity.source if identity.address is None else f"{identity.source}:{identity.address}"),
        ("mail_from", f"<{envelope.sender}>"),
        ("nrcpt", str(len(envelope.recipients))),
        *([("probe", "yes")] if message.probe else []),
        *([("decided_before", decision.decided_before)] if decision.decided_before is not None else []),
        *([("mode", decision.mode)] if decision.mode != "apply" else []),
        *happened,
        ("searches", str(decision.searches)),
    ]
    queue_id = _plain(message.queue_id) or "NOQUEUE"
    return f"{queue_id}: " + " ".join(f"{name}={_quoted(value)}" for name, value in fields)


def _happened(decision: Decision, policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the effects and problems that may be named."""
    secret = {copy_class.name for copy_class in policy.copy_classes if copy_class.confidential}
    if (change := decision.from_change) is not None:
        yield ("from" if change.mode == "apply" else "would_from", change.value)
        yield from (("from_reason", _reason(reason)) for reason in change.reasons[:1])
    if decision.refusal is not None:
        yield ("refused_from", decision.refusal.address)
        yield from (("refused_reason", _reason(reason)) for reason in decision.refusal.reasons[:1])
    for header in decision.header_changes:
        yield (
            "header" if header.mode == "apply" else "would_header",
            f"{header.name}: {header.value}" if header.value is not None else f"{header.name} removed",
        )
    for copy in decision.copies:
        if reasons := _shown(copy, secret):
            yield ("copy" if copy.mode == "apply" else "would_copy", copy.address.text)
            yield from (("copy_reason", _reason(reason)) for reason in reasons[:1])
    yield from (("warning", notice.text) for notice in decision.warnings if not notice.confidential)
    yield from (("incomplete", text) for text in decision.incomplete)
    if decision.stale:
        yield ("stale", "yes")


def _shown(copy: Copy, secret: set[str]) -> list[Reason]:
    """Return the reasons that may be named; none for a copy that only a confidential class wants."""
    return [reason for reason in copy.reasons if reason.copy_class not in secret]


def _reason(reason: Reason) -> str:
    path = f" via {' > '.join(reason.group_path)}" if reason.group_path else ""
    by_whom = f" for {reason.recipient}" if reason.recipient else ""
    return f"{reason.level} {reason.attribute} at {reason.dn}{by_whom}{path}"


def _plain(text: str) -> str:
    """Return text that cannot break out of its line or its field."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def _quoted(value: str) -> str:
    plain = _plain(value)
    if plain and not _NEEDS_QUOTES.search(plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
