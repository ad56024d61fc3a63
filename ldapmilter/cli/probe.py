"""``ldapmilter probe``: a message through the running milter's socket, as an MTA would send it.

Nothing is delivered: the milter is asked, and what it would change is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.cli import arguments, exit_status, nagios, sample_message
from ldapmilter.config import load
from ldapmilter.daemon.channel import about
from ldapmilter.daemon.control_client import ask
from ldapmilter.delivery.token import token_of
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.mailbox.reading import read_text
from ldapmilter.mta.probe import probe
from ldapmilter.mta.stream import ConnectError
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    import argparse

    from ldapmilter.mta.probe import ProbeReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    sample_message.add_options(parser)
    parser.add_argument(
        "--timeout", type=arguments.seconds, default=30.0, metavar="SECONDS", help="default: %(default)g"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="for programs")
    output.add_argument("--nagios", action="store_true", help="one line and Nagios exit codes, for monitoring")
    parser.add_argument(
        "--warn",
        type=arguments.seconds_or_none,
        default=1.0,
        metavar="SECONDS",
        help="--nagios: slower is a warning",
    )


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    if options.nagios:
        return _nagios(options)
    report = _ask(options)
    print(plain_json(report, indent=1) if options.json else _text(report))
    return exit_status.FINE if report["verdict"] == "accept" else exit_status.PROBLEM


def _nagios(options: argparse.Namespace) -> int:
    """Print one line with performance data; return 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN."""
    try:
        report = _ask(options)
    except ConfigError as error:
        code, line = nagios.unknown(error)
        print(line)
        return code
    except LdapmilterError as error:
        print(nagios.line("CRITICAL", str(error)))
        return nagios.CRITICAL
    seconds = report["seconds"]
    figures = f"time={seconds:.6f}s;{options.warn:g};{options.timeout:g};0 copies={len(report['copies'])};;;0"
    answered = f"answered in {seconds * 1000:.1f} ms"
    if report["verdict"] != "accept":
        reply = report["smtp_reply"] or "no text"
        print(nagios.line("CRITICAL", f"{report['verdict']}: {reply}, {answered}", figures))
        return nagios.CRITICAL
    slow = seconds > options.warn
    print(nagios.line("WARNING" if slow else "OK", f"accept, {answered}", figures))
    return nagios.WARNING if slow else nagios.OK


def _ask(options: argparse.Namespace) -> ProbeReport:
    config = load(options.config)
    message = sample_message.read(options)
    try:
        return probe(config.milter.socket, message.envelope, message.fields, message.body, options.timeout)
    except ConnectError as error:
        if not isinstance(error.__cause__, PermissionError) or config.control is None:
            raise
    # Only Postfix and the daemon itself may connect there; the daemon does it for users of its control socket.
    request = about("probe", message.envelope) | {
        "fields": [[part.decode("latin-1") for part in field] for field in message.fields],
        "body": message.body.decode("latin-1"),
        "seconds": options.timeout,
    }
    report: ProbeReport = ask(str(config.control), request, takes=options.timeout)["outcome"]
    return report


def _text(report: ProbeReport) -> str:
    lines = [f"verdict   {report['verdict']}" + (f": {report['smtp_reply']}" if report["smtp_reply"] else "")]
    if report["verdict"] == "tempfail":  # the wire does not say it: the client is not to know
        lines.append("because   ldapmilter explain --live, with the same options, says why")
    before = ", ".join(map(read_text, report["from_before"])) or "(none)"
    after = ", ".join(map(read_text, report["from_after"])) or "(none)"
    lines.append(f"From      {before} -> {after}" if before != after else f"From      {before} (stays)")
    # A daemon of an earlier version, asked by its control socket, tells of no other fields.
    for field in report.get("headers", ()):
        old, new = (", ".join(map(read_text, field[key])) or "(none)" for key in ("before", "after"))
        lines.append(f"header    {field['name']}: {old} -> {new}")
    if report.get("envelope_sender") is not None:
        lines.append(f"sender    {report['envelope_sender']}")
    for copy in report["copies"]:
        way = ", by way of the copy relay" if token_of(copy["address"]) is not None else ""
        lines.append(f"copy      {copy['address']} {' '.join(copy['parameters'])}{way}")
    lines.extend(f"replaced  {recipient}" for recipient in report["replaced"])
    if not report["copies"]:
        lines.append("copies    none")
    lines.append(f"answered in {report['seconds'] * 1000:.1f} ms")
    return "\n".join(map(plain, lines))
