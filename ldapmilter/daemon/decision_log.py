"""One log line per decision: queue id first, key=value, nothing that a mail log may not hold.

The mail log is read by many: it never says that a confidential copy exists, nor where it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldapmilter.message import Envelope
    from ldapmilter.policy.model import Copy, Decision, Policy, Reason


def line(queue_id: str, envelope: Envelope, decision: Decision, policy: Policy) -> str:
    """Return the line for one message."""
    secret = {copy_class.name for copy_class in policy.copy_classes if copy_class.confidential}
    identity = decision.identity
    fields = [
        ("verdict", decision.verdict if decision.verdict_mode == "apply" else f"would-{decision.verdict}"),
        ("identity", identity.source if identity.address is None else f"{identity.source}:{identity.address}"),
        ("mail_from", f"<{envelope.sender}>"),
        ("nrcpt", str(len(envelope.recipients))),
    ]
    if decision.decided_before is not None:
        fields.append(("decided_before", decision.decided_before))
    if decision.mode != "apply":
        fields.append(("mode", decision.mode))
    if (change := decision.from_change) is not None:
        fields.append(("from" if change.mode == "apply" else "would_from", change.value))
        fields.extend(("from_reason", _reason(reason)) for reason in change.reasons[:1])
    if decision.refusal is not None:
        fields.append(("refused_from", decision.refusal.address))
        fields.extend(("refused_reason", _reason(reason)) for reason in decision.refusal.reasons[:1])
    fields.extend(
        (
            "header" if header.mode == "apply" else "would_header",
            f"{header.name}: {header.value}" if header.value is not None else f"{header.name} removed",
        )
        for header in decision.header_changes
    )
    shown = [(copy, reasons) for copy in decision.copies if (reasons := _shown(copy, secret))]
    for copy, reasons in shown:
        fields.append(("copy" if copy.mode == "apply" else "would_copy", copy.address.text))
        fields.extend(("copy_reason", _reason(reason)) for reason in reasons[:1])
    fields.extend(("warning", notice.text) for notice in decision.warnings if not notice.confidential)
    fields.extend(("incomplete", text) for text in decision.incomplete)
    if decision.stale:
        fields.append(("stale", "yes"))
    fields.append(("searches", str(decision.searches)))
    return f"{_plain(queue_id) or 'NOQUEUE'}: " + " ".join(f"{name}={_quoted(value)}" for name, value in fields)


def _shown(copy: Copy, secret: set[str]) -> list[Reason]:
    """Return the reasons that may be named; none for a copy that only a confidential class wants."""
    return [reason for reason in copy.reasons if reason.copy_class not in secret]


def _reason(reason: Reason) -> str:
    path = f" via {' > '.join(reason.group_path)}" if reason.group_path else ""
    by_whom = f" for {reason.recipient}" if reason.recipient else ""
    return f"{reason.level} {reason.attribute} at {reason.dn}{by_whom}{path}"


def _plain(text: str) -> str:
    """Return text that cannot break out of its line or its field."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _quoted(value: str) -> str:
    plain = _plain(value)
    if plain and not any(character in ' "=\\' for character in plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
