"""A decision for people: the text of ``explain``, made from the same document that programs get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.cli import effect_text
from ldapmilter.cli.why_not_text import WhyNotText
from ldapmilter.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.cli.effect_text import EffectText
    from ldapmilter.policy.document import DecisionDocument
    from ldapmilter.policy.explanation import NotAppliedDocument


def as_text(decision: DecisionDocument, not_applied: Sequence[NotAppliedDocument] = ()) -> str:
    """Return the decision, and what does not happen, as people read it, in lines that hold no control character."""
    return "\n".join(map(plain, _lines(decision, not_applied)))


def _lines(decision: DecisionDocument, not_applied: Sequence[NotAppliedDocument]) -> Iterator[str]:
    if decision["decided_before"] is not None:
        yield f"untouched {decision['decided_before']}: this mail has been decided on an earlier hop"
        return
    # Why the whole message waits is said once, for all that does not happen.
    told = {*decision["warnings"], *decision["incomplete"]}
    why_not = WhyNotText(one for one in not_applied if one["cause"] != "undecided" or one["text"] not in told)
    yield f"identity  {_identity(decision, not_applied)}"
    mode = decision.get("verdict_mode", "apply")  # a daemon of an earlier version does not say it
    yield f"verdict   {_verdict(decision)}" + ("" if mode == "apply" else f" [{mode}: not applied]")
    because, warnings = _why_it_waits(decision)
    is_undecided = decision["unavailable"] or _is_undecided(decision, not_applied, because)
    if is_undecided:
        yield "nothing   is decided: the message waits, and its sender tries again"
    yield from (f"because   {text}" for text in because)
    if is_undecided:
        yield from _ending(decision, warnings)
        return
    if (refused := decision["refused"]) is not None:
        yield f"refused   From {refused['address']} is not theirs to use"
        yield from (f"            {effect_text.because(reason)}" for reason in refused["reasons"])
        if mode == "apply":
            return
    if decision["from"] is None:
        yield "From      stays"
        yield from why_not.of_from()
    of_lists = tuple(why_not.of_lists())
    yield from _list_lines(decision, told=bool(of_lists))
    yield from of_lists
    for effect in effect_text.expected(decision):
        yield from _effect_lines(effect)
    if not decision["copies"]:
        yield "copies    none"
    yield from why_not.of_copies()
    yield from _ending(decision, warnings)


def _ending(decision: DecisionDocument, warnings: Sequence[str]) -> Iterator[str]:
    yield from (f"warning   {text}" for text in warnings)
    yield from (f"INCOMPLETE: {text}" for text in decision["incomplete"])
    if decision["stale"]:
        yield "STALE: the directory failed; an entry from before was used"
    if decision["mode"] != "apply":
        yield f"mode      {decision['mode']}: this is what apply would do"
    yield f"searches  {decision['searches']}"


def _identity(decision: DecisionDocument, not_applied: Sequence[NotAppliedDocument]) -> str:
    identity = decision["identity"]
    if identity["source"] != "none":
        known = identity["dn"] or ("could not be looked up" if decision["unavailable"] else "no such account")
        return f"{identity['address'] or '(no address)'} ({identity['source']}, {known})"
    for one in not_applied:
        if one["cause"] == "no-identity":
            return f"none: {one['text']}"
    # Whether the client is a mailbox server cannot be known of a directory that does not answer.
    return "none: nobody logged in" + ("" if decision["unavailable"] else ", and the client is no mailbox server")


def _why_it_waits(decision: DecisionDocument) -> tuple[list[str], list[str]]:
    """Return the warnings that are why the message waits, and the others."""
    # A daemon of an earlier version does not say which are why.
    because = decision.get("waits_because", decision["warnings"] if decision["unavailable"] else [])
    return because, [text for text in decision["warnings"] if text not in because]


def _is_undecided(
    decision: DecisionDocument, not_applied: Sequence[NotAppliedDocument], because: Sequence[str]
) -> bool:
    """Tell whether the message waits before anything was decided, as that of a login of no account does.

    "No copies" would then be read as an answer.
    """
    if decision["copies"] or decision["from"] is not None or not not_applied:
        return False
    return all(one["cause"] == "undecided" and one["text"] in because for one in not_applied)


def _verdict(decision: DecisionDocument) -> str:
    return decision["verdict"] + (f": {decision['smtp_reply']}" if decision["smtp_reply"] else "")


def _list_lines(decision: DecisionDocument, *, told: bool) -> Iterator[str]:
    """Yield which list it is, and (unless that is told with all else) why From stays."""
    # A daemon of an earlier version knows nothing of lists.
    if (post := decision.get("list")) is not None:
        left_alone = f": left as it is, {post['left_alone']}" if post["left_alone"] else ""
        yield f"list      {post['address']}{left_alone}"
        if post["from_stays"] and not told:
            yield f"            From stays: {post['from_stays']}"


def _effect_lines(effect: EffectText) -> Iterator[str]:
    applied = "" if effect.mode == "apply" else f" [{effect.mode}: not applied]"
    yield f"{effect.label:<10}{effect.text}{applied}"
    yield from (f"            {text}" for text in (*effect.further, *effect.reasons))
