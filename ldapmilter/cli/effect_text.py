"""The effects of a decision in words, for ``explain`` (what would happen) and ``audit find`` (what happened)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.mailbox.reading import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ldapmilter.audit.record import AuditRecord
    from ldapmilter.policy.document import CopyDocument, CopyReasonDocument, DecisionDocument, ReasonDocument
    from ldapmilter.policy.effect import Mode


class EffectText(NamedTuple):
    """One effect in words."""

    label: str
    text: str
    mode: Mode
    further: tuple[str, ...]
    """Lines that say more of it."""
    reasons: tuple[str, ...]


_DELIVERIES = {
    "tracked": "tracked: by way of the copy relay, unchanged",
    "journal": "journal: by way of the copy relay, in a journal report",
}


def expected(decision: DecisionDocument) -> Iterator[EffectText]:
    """Yield what a message meets, in the order in which it happens."""
    if (change := decision["from"]) is not None:
        readable, sent_as = _decoded(change["value"])
        yield EffectText(
            "From", f"{readable} ({change['cause']})", change["mode"], sent_as, _because(change["reasons"])
        )
    for header in decision["headers"]:
        readable, sent_as = _decoded(header["value"]) if header["value"] is not None else ("(removed)", ())
        # A daemon of an earlier version gives no reasons.
        reasons = _because(header.get("reasons", ()))
        yield EffectText("header", f"{header['name']}: {readable}", header["mode"], sent_as, reasons)
    if (sender := decision.get("envelope_sender")) is not None:
        yield EffectText("sender", sender["address"], sender["mode"], (), _because(sender["reasons"]))
    for copy in decision["copies"]:
        place = "the copy takes its place" if copy["added"] else "the copy is what it gets"
        reasons = tuple(f"{reason['direction']}: {because(reason)}" for reason in copy["reasons"])
        yield _copy("copy", copy, place, reasons)


def recorded(record: AuditRecord, fates: Mapping[str, tuple[str, ...]] | None = None) -> Iterator[EffectText]:
    """Yield what a message met, in the order in which it happened.

    Args:
        record: of the message.
        fates: what became of copies, in lines, by token.
    """
    if (change := record["from"]) is not None:
        old = ", ".join(map(read_text, change["old"])) if change["old"] is not None else "(not read)"
        text = f"{old or '(none)'} -> {read_text(change['value'])} ({change['cause']})"
        yield EffectText("From", text, change["mode"], (), _because(change["reasons"]))
    for header in record["headers"]:
        value = _decoded(header["value"])[0] if header["value"] is not None else "(removed)"
        # Records of earlier versions have no reasons.
        reasons = _because(header.get("reasons", ()))
        yield EffectText("header", f"{header['name']}: {value}", header["mode"], (), reasons)
    if (sender := record.get("envelope_sender")) is not None:
        yield EffectText("sender", sender["address"], sender["mode"], (), _because(sender["reasons"]))
    for copy in record["copies"]:
        place = "the copy took its place" if copy.get("added", True) else "the copy is what it got"
        effect = _copy("copy to", copy, place, tuple(map(_with_ref, copy["reasons"])))
        told = (fates or {}).get(str(copy.get("token")), ())
        yield effect._replace(further=(*effect.further, *told))


def _decoded(value: str) -> tuple[str, tuple[str, ...]]:
    """Return a header value as people read it, and how it is sent where more than its folding differs."""
    sent = value.replace("\n\t", " ").replace("\n", "")
    readable = read_text(sent)
    return readable, () if readable == sent else (f"sent as {sent}",)


def _copy(label: str, copy: CopyDocument, place: str, reasons: tuple[str, ...]) -> EffectText:
    already = copy.get("already_a_recipient")  # not in records of earlier versions
    delivery = copy.get("delivery", "direct")  # as above
    if delivery != "direct":
        place = "the report comes beside it"
    further = (
        *([_DELIVERIES.get(delivery, delivery) + _token(copy)] if delivery != "direct" else []),
        *([f"already a recipient, as {', '.join(already)}: {place}"] if already else []),
    )
    return EffectText(label, f"{copy['address']} ({', '.join(copy['classes'])})", copy["mode"], further, reasons)


def _token(copy: CopyDocument) -> str:
    token = copy.get("token")
    return f", token {token}" if token else ""


def _because(reasons: Sequence[ReasonDocument]) -> tuple[str, ...]:
    return tuple(map(because, reasons))


def _with_ref(reason: CopyReasonDocument) -> str:
    return f"{reason['direction']}: {because(reason)}" + (f", ref {reason['ref']}" if reason["ref"] else "")


def because(reason: ReasonDocument | CopyReasonDocument) -> str:
    """Return one reason: the value, where it stands, and the way to it."""
    text = f"{reason['attribute']}: {reason['value']}   [{reason['level']} {reason['dn']}]"
    if reason["recipient"]:
        text += f" for {reason['recipient']}"
    if reason["group_path"]:
        text += f" through {' > '.join(reason['group_path'])}"
    return text
