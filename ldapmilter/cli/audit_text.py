"""A record of the audit as a compliance officer reads it: when, who, what, why, and where the copies went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.mailbox import encoded_word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SOURCES = {
    "sasl": "logged in",
    "mailbox-host": "through a mailbox server",
    "none": "nobody logged in",
}


def as_text(record: Mapping[str, Any]) -> str:
    """Return a record (of the shape that the audit promises) as lines that hold no control character."""
    return "\n".join(_plain(line) for line in _lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"{record['time']}  queue id {record['queue_id'] or '(none)'}  on {record['host']}"
    if record["probe"]:
        yield "  PROBE       asked by ldapmilter probe; there was no mail"
    yield f"  message id  {record['message_id'] or '(not known)'}"
    yield f"  sent by     {_identity(record)}"
    yield f"  mail from   <{record['sender']}>" + (f" from client {record['client']}" if record["client"] else "")
    for recipient in record["offered"]:
        yield f"  to          {recipient}"
    yield f"  verdict     {_verdict(record)}"
    if record["refused"] is not None:
        yield f"  refused     From {record['refused']['address']} was not theirs to use"
        yield from _because(record["refused"])
    if (change := record["from"]) is not None:
        old = ", ".join(map(encoded_word.decode, change["old"])) if change["old"] is not None else "(not read)"
        new = encoded_word.decode(change["value"])
        yield f"  From        {old or '(none)'} -> {new} ({change['cause']}){_mode(change)}"
        yield from _because(change)
    for header in record["headers"]:
        value = encoded_word.decode(header["value"]) if header["value"] is not None else "(removed)"
        yield f"  header      {header['name']}: {value}{_mode(header)}"
    for copy in record["copies"]:
        yield f"  copy to     {copy['address']} ({', '.join(copy['classes'])}){_mode(copy)}"
        yield from _because(copy)
    yield from (f"  warning     {text}" for text in record["warnings"])
    yield from (f"  INCOMPLETE  {text}" for text in record["incomplete"])
    if record["stale"]:
        yield "  STALE       the directory failed; what it had said before was used"
    if record["mode"] != "apply":
        yield f"  mode        {record['mode']}"


def _identity(record: Mapping[str, Any]) -> str:
    identity = record["identity"]
    how = _SOURCES.get(identity["source"], str(identity["source"]))
    if identity["source"] == "none":
        return how
    login = f" as {record['login']}" if identity["source"] == "sasl" and record["login"] else ""
    return f"{identity['address'] or '(no address)'} ({how}{login}, {identity['dn'] or 'no account known'})"


def _verdict(record: Mapping[str, Any]) -> str:
    text = record["verdict"] + (f": {record['smtp_reply']}" if record["smtp_reply"] else "")
    if record["verdict_mode"] != "apply":
        return f"{text} [{record['verdict_mode']}: would, was not applied]"
    if record["verdict"] == "tempfail":
        return f"{text} (the message waited and its sender tries again: no change or copy below was made)"
    if record["verdict"] == "reject":
        return f"{text} (the message was refused: no change or copy below was made)"
    return str(text)


def _mode(effect: Mapping[str, Any]) -> str:
    return "" if effect["mode"] == "apply" else f" [{effect['mode']}: would, was not applied]"


def _because(effect: Mapping[str, Any]) -> Iterator[str]:
    for reason in effect["reasons"]:
        direction = f"{reason['direction']}: " if "direction" in reason else ""
        text = f"                because {direction}{reason['attribute']}: {reason['value']}"
        text += f"   [{reason['level']} {reason['dn']}]"
        if reason["recipient"]:
            text += f" for {reason['recipient']}"
        if reason["group_path"]:
            text += f" through {' > '.join(reason['group_path'])}"
        if reason.get("ref"):
            text += f", ref {reason['ref']}"
        yield text


def _plain(text: str) -> str:
    """Return text that cannot steer a terminal or begin a line: what came in a message is shown, not obeyed."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
