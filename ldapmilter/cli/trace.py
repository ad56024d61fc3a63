"""``ldapmilter trace``: what the running daemon did with one of its last messages, and which it has not seen.

Told apart: seen, with or without an effect; never seen, so Postfix did not ask; perhaps too long ago.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ldapmilter.cli import arguments, audit_text, exit_status
from ldapmilter.cli.asking import ask
from ldapmilter.cli.words import moment
from ldapmilter.errors import ConfigError
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.daemon.channel import Message

_MOST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.description = (
        "Shows what the running daemon decided on its last messages, those without any effect too."
        " Root and the daemon's user see all of it; whoever else may ask the daemon sees no confidential copy."
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="?",
        type=_what,
        help="Postfix's queue id, or an address of a party (default: the last messages, whoever's)",
    )
    parser.add_argument(
        "--last", type=_number, default=_MOST, metavar="N", help="at most so many messages (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    what = options.what
    kind = "address" if what is not None and "@" in what else "queue_id"
    answer = ask(options.config, {"verb": "trace", kind: what, "most": options.last})
    if options.json:
        print(plain_json(answer, indent=1))
    else:
        print("\n".join(map(plain, _lines(answer, what, options.config))))
    return exit_status.FINE if answer["messages"] and not answer["silent"] else exit_status.PROBLEM


def _what(text: str) -> str:
    if "@" in text:
        return arguments.address(text)
    if not text.isalnum() or not text.isascii():
        message = f"{text!r} is neither a queue id such as 4Xq2Kd0Zz9z1 nor a mail address"
        raise argparse.ArgumentTypeError(message)
    return text


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1000:  # noqa: PLR2004 - as the message says
        message = f"{text} is no number of messages from 1 to 1000"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _lines(answer: Message, what: str | None, config: str) -> Iterator[str]:
    for one in answer["messages"]:
        yield from _seen(one)
        yield ""
    if answer["messages"]:
        yield f"{_remembered(answer)}; what is older has aged out" if not answer["whole"] else _remembered(answer)
        if not answer["reads_audit"]:
            yield "confidential copies are not shown: root and the daemon's user see them"
    else:
        yield from _not_seen(answer, what, config)
    for pid in answer["silent"]:
        yield f"worker {pid} does not answer: what it has seen is missing here"


def _seen(one: Message) -> Iterator[str]:
    if (record := one.get("record")) is None:
        yield f"{moment(one['at'])}  {one['line']}"
        return
    yield from audit_text.as_text(record).splitlines()
    if record["verdict"] == "accept" and not (record["from"] or record["headers"] or record["copies"]):
        why = f": {record['decided_before']}" if record["decided_before"] is not None else ""
        yield f"  seen, and nothing applied{why}"


def _not_seen(answer: Message, what: str | None, config: str) -> Iterator[str]:
    if answer["trace_messages"] == 0:
        yield "no message is remembered: [control] trace_messages = 0"
        return
    if answer["switched_off"]:
        yield "every part of the policy is in mode pass: nothing is decided, so no message is remembered"
        return
    which = "no message" if what is None else f"no message of {what}"
    if not answer["whole"]:
        audit = f" --{'address' if '@' in what else 'queue-id'} {what}" if what is not None else ""
        yield f"{which} is among those remembered: {_remembered(answer)}"
        yield f"what is older has aged out: ldapmilter audit find{audit} has older ones that had an effect"
        return
    others = f" ({answer['remembered']} others were)" if answer["remembered"] else ""
    yield f"{which} was seen since the daemon started at {moment(answer['since'])}{others}"
    yield from _registration(answer["socket"], config)


def _registration(socket: str, config: str) -> Iterator[str]:
    """Yield what Postfix's own configuration says of why the daemon was not asked."""
    from ldapmilter.checks import postfix  # noqa: PLC0415 - when nothing was seen
    from ldapmilter.checks.finding import Report  # noqa: PLC0415
    from ldapmilter.config import load  # noqa: PLC0415

    report = Report()
    try:
        postfix.check(load(config), report, directory=None)
    except ConfigError as error:  # what the daemon says stands, whatever is in the file by now
        yield f"Postfix was not looked at: {error}"
        return
    listing = {postfix.UNLISTED.code, postfix.SERVICE_UNLISTED.code, postfix.NONSMTPD_UNLISTED.code}
    found = [one for one in report.findings if one.code in {*listing, postfix.ABSENT.code, postfix.BROKEN.code}]
    for one in found:
        yield f"Postfix: {one.text}; {one.remedy} [{one.code}]"
    if not found:
        yield f"Postfix lists {socket} for SMTP and for sendmail: was the message sent through this host?"


def _remembered(answer: Message) -> str:
    count = answer["remembered"]
    return f"{count} message{'s are' if count != 1 else ' is'} remembered, since {moment(answer['since'])}"
