"""``ldapmilter probe``: a message through the running milter's socket, as an MTA would send it.

Nothing is delivered: the milter is asked, and what it would change is printed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ldapmilter.cli import exit_status, sample_message
from ldapmilter.config import load
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.mailbox import encoded_word
from ldapmilter.milter.client import MilterClient
from ldapmilter.milter.session import PROBE_MACRO
from ldapmilter.milter.transaction import Client, Transaction, Verdict
from ldapmilter.milter.wire import Stage

if TYPE_CHECKING:
    import argparse

    from ldapmilter.cli.types import Verbs
    from ldapmilter.message import Envelope
    from ldapmilter.milter.transaction import Outcome

_OK, _WARNING, _CRITICAL, _UNKNOWN = 0, 1, 2, 3
"""Exit codes of a Nagios plugin."""
_OUTSIDER = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): a client that is nobody's mailbox server."""


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "probe", help="a message through the running milter, as an MTA sends it", allow_abbrev=False
    )
    sample_message.add_options(parser)
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="default: %(default)g")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="for programs")
    output.add_argument("--nagios", action="store_true", help="one line and Nagios exit codes, for monitoring")
    parser.add_argument("--warn", type=float, default=1.0, metavar="SECONDS", help="--nagios: slower is a warning")
    parser.set_defaults(verb=_probe)


def _probe(options: argparse.Namespace) -> int:
    if options.nagios:
        return _nagios(options)
    message, outcome = _run(options)
    report = _report(message.fields, outcome)
    print(json.dumps(report, indent=1, ensure_ascii=False) if options.json else _text(report))
    return exit_status.FINE if outcome.verdict is Verdict.ACCEPT else exit_status.PROBLEM


def _nagios(options: argparse.Namespace) -> int:
    """Print one line with performance data; return 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN."""
    try:
        _, outcome = _run(options)
    except ConfigError as error:
        print(f"LDAPMILTER UNKNOWN - {error}")
        return _UNKNOWN
    except LdapmilterError as error:
        print(f"LDAPMILTER CRITICAL - {error}")
        return _CRITICAL
    figures = (
        f"time={outcome.seconds:.6f}s;{options.warn:g};{options.timeout:g};0 copies={len(outcome.added_recipients)};;;0"
    )
    answered = f"answered in {outcome.seconds * 1000:.1f} ms"
    if outcome.verdict is not Verdict.ACCEPT:
        print(f"LDAPMILTER CRITICAL - {outcome.verdict.value}: {outcome.reply or 'no text'}, {answered} | {figures}")
        return _CRITICAL
    slow = outcome.seconds > options.warn
    print(f"LDAPMILTER {'WARNING' if slow else 'OK'} - accept, {answered} | {figures}")
    return _WARNING if slow else _OK


def _run(options: argparse.Namespace) -> tuple[sample_message.SampleMessage, Outcome]:
    config = load(options.config)
    message = sample_message.read(options)
    transaction = Transaction(
        sender=message.envelope.sender,
        recipients=list(message.envelope.recipients),
        headers=list(message.fields),
        body=message.body or b"probe\r\n",
        login=message.envelope.login,
        queue_id="PROBE",
        macros=_macros(message.envelope),
        client=Client(name="probe.invalid", address=message.envelope.client or _OUTSIDER, port=25),
    )
    with MilterClient.connect(config.milter.socket, timeout=options.timeout) as client:
        outcome = client.run(transaction)
        client.quit()
    return message, outcome


def _macros(envelope: Envelope) -> dict[Stage, dict[str, str]]:
    port = {} if envelope.daemon_port is None else {"{daemon_port}": str(envelope.daemon_port)}
    # Not with the connection: the milter names the macros that it wants there.
    return {Stage.CONNECT: port, Stage.MAIL: {PROBE_MACRO: "yes"}}


def _report(before: tuple[tuple[bytes, bytes], ...], outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict.value,
        "smtp_reply": outcome.reply,
        "from_before": _from_values(before),
        "from_after": _from_values(outcome.headers_after),
        "copies": [
            {"address": added.address, "parameters": list(added.parameters)} for added in outcome.added_recipients
        ],
        "seconds": round(outcome.seconds, 6),
    }


def _from_values(fields: tuple[tuple[bytes, bytes], ...]) -> list[str]:
    return [
        " ".join(value.decode("utf-8", "backslashreplace").split())
        for name, value in fields
        if name.strip().lower() == b"from"
    ]


def _text(report: dict[str, Any]) -> str:
    lines = [f"verdict   {report['verdict']}" + (f": {report['smtp_reply']}" if report["smtp_reply"] else "")]
    before = ", ".join(map(encoded_word.decode, report["from_before"])) or "(none)"
    after = ", ".join(map(encoded_word.decode, report["from_after"])) or "(none)"
    lines.append(f"From      {before} -> {after}" if before != after else f"From      {before} (stays)")
    lines.extend(f"copy      {copy['address']} {' '.join(copy['parameters'])}" for copy in report["copies"])
    if not report["copies"]:
        lines.append("copies    none")
    lines.append(f"answered in {report['seconds'] * 1000:.1f} ms")
    return "\n".join(lines)
