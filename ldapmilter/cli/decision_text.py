"""A decision for people: the text of ``explain``, made from the same document that programs get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.mailbox import encoded_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.policy.decision_json import DecisionJson


def as_text(decision: DecisionJson) -> str:
    """Return the decision as an administrator reads it."""
    return "\n".join(_lines(decision))


def _lines(decision: DecisionJson) -> Iterator[str]:
    if decision["decided_before"] is not None:
        yield f"untouched {decision['decided_before']}: this mail has been decided on an earlier hop"
        return
    identity = decision["identity"]
    if identity["source"] == "none":
        yield "identity  none: nobody logged in, and the client is no mailbox server"
    else:
        known = identity["dn"] or ("could not be looked up" if decision["unavailable"] else "no such account")
        yield f"identity  {identity['address'] or '(no address)'} ({identity['source']}, {known})"
    yield f"verdict   {decision['verdict']}" + (f": {decision['smtp_reply']}" if decision["smtp_reply"] else "")
    if decision["unavailable"]:
        yield "nothing   is decided: the message waits, and its sender tries again"
        yield from (f"because   {text}" for text in decision["warnings"])
        yield f"searches  {decision['searches']}"
        return
    if (refused := decision["refused"]) is not None:
        yield f"refused   From {refused['address']} is not theirs to use"
        yield from (f"            {_because(reason)}" for reason in refused["reasons"])
        return
    yield from _from_lines(decision["from"])
    for header in decision["headers"]:
        yield f"header    {header['name']}: {header['value'] or '(removed)'}{_mode(header)}"
    if not decision["copies"]:
        yield "copies    none"
    for copy in decision["copies"]:
        yield f"copy      {copy['address']} ({', '.join(copy['classes'])}){_mode(copy)}"
        yield from (f"            {reason['direction']}: {_because(reason)}" for reason in copy["reasons"])
    yield from (f"warning   {text}" for text in decision["warnings"])
    yield from (f"INCOMPLETE: {text}" for text in decision["incomplete"])
    if decision["stale"]:
        yield "STALE: the directory failed; an entry from before was used"
    if decision["mode"] != "apply":
        yield f"mode      {decision['mode']}: this is what apply would do"
    yield f"searches  {decision['searches']}"


def _from_lines(change: DecisionJson | None) -> Iterator[str]:
    if change is None:
        yield "From      stays"
        return
    readable = encoded_word.decode(change["value"])
    yield f"From      {readable} ({change['cause']}){_mode(change)}"
    if readable != change["value"]:
        yield f"            sent as {change['value']}"
    yield from (f"            {_because(reason)}" for reason in change["reasons"])


def _mode(effect: DecisionJson) -> str:
    return "" if effect["mode"] == "apply" else f" [{effect['mode']}: not applied]"


def _because(reason: DecisionJson) -> str:
    text = f"{reason['attribute']}: {reason['value']}   [{reason['level']} {reason['dn']}]"
    if reason["recipient"]:
        text += f" for {reason['recipient']}"
    if reason["group_path"]:
        text += f" through {' > '.join(reason['group_path'])}"
    return text
