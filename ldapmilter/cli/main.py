"""``ldapmilter VERB [--config FILE]``: parse, dispatch, and turn every expected error into one line.

A verb's module is imported when that verb is asked for, so that none waits for what another needs.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

from ldapmilter import __version__
from ldapmilter.cli import exit_status
from ldapmilter.cli.parser import Parser
from ldapmilter.config_text import DEFAULT_PATH
from ldapmilter.errors import ConfigError, DaemonUnreachable, DirectoryUnavailable, LdapmilterError, SecretForbidden
from ldapmilter.plain import plain_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

VERBS = {
    "run": "the daemon, in the foreground",
    "relay": "the copy relay, in the foreground; run starts it",
    "explain": "the decision for a message, and its reasons",
    "probe": "a message through the running milter, as an MTA sends it",
    "trace": "what the running daemon did with a message, or that it has not seen it",
    "check": "what is wrong around the milter, and how to correct it",
    "config": "every option with the value that counts",
    "status": "the state of the running daemon",
    "cache": "the running daemon's cache",
    "audit": "what was done with a message, and why",
    "copies": "the copies that travel by the relay: waiting, kept",
    "coverage": "who is copied where and why, and who is not",
    "schema": "schema, access rules and identity for slapd",
}
"""Every verb with its line of help. ``ldapmilter.cli.VERB`` has ``add_arguments(parser)`` and ``run(arguments)``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone away (| head): nothing to complain about, and the interpreter, which
        # flushes at its end what is left, must find an open descriptor.
        sink = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(sink, stream.fileno())
        return exit_status.PROBLEM


def _run(given: Sequence[str]) -> int:
    options = command_line(VERBS.keys() & set(given)).parse_args(given)
    try:
        exit_code: int = options.run(options)
    except SecretForbidden as error:
        hint = "status, config, cache, trace, probe and explain --live do without it"
        return _complain(f"{error}; {hint}", exit_status.USAGE)
    except LdapmilterError as error:
        prefix = "directory unavailable: " if isinstance(error, DirectoryUnavailable) else ""
        return _complain(f"{prefix}{error}", _status_of(error))
    return exit_code


def _status_of(error: LdapmilterError) -> int:
    if isinstance(error, ConfigError):
        return exit_status.USAGE
    if isinstance(error, DirectoryUnavailable):
        return exit_status.DIRECTORY_UNAVAILABLE
    return exit_status.DAEMON_UNREACHABLE if isinstance(error, DaemonUnreachable) else exit_status.PROBLEM


def _complain(error: object, code: int) -> int:
    print(f"ldapmilter: {plain_lines(str(error))}", file=sys.stderr)
    return code


def command_line(asked: Collection[str] = VERBS.keys()) -> Parser:
    """Return the parser of the command line.

    Args:
        asked: the verbs that may stand in it: only their modules are imported, only they have their arguments.
    """
    parser = Parser(
        prog="ldapmilter",
        description="Archive copies, legal copies and From rewriting for Zimbra, driven by its LDAP directory.",
        epilog="exit status: 0 fine, 1 problem found, 2 usage or configuration,"
        " 3 directory unavailable, 4 daemon not reachable",
        allow_abbrev=False,
    )
    # prog: to find it out itself, argparse would load what it formats help with.
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, prog="ldapmilter")
    for name, words in VERBS.items():
        verb = verbs.add_parser(name, help=words, allow_abbrev=False)
        if name in asked:
            module = import_module(f"ldapmilter.cli.{name}")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
            _tell_exit_status(name, verb)
    parser.take_everywhere("--version", action="version", version=f"ldapmilter {__version__}")
    parser.take_everywhere(
        "--config", default=DEFAULT_PATH, metavar="FILE", help="configuration (default: %(default)s)"
    )
    return parser


def _tell_exit_status(name: str, parser: Parser) -> None:
    for action, below in parser.below.items():
        _tell_exit_status(f"{name} {action}", below)
    if not parser.below:
        plugin = "; with --nagios 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN" if parser.takes("--nagios") else ""
        parser.epilog = exit_status.told(name) + plugin


def entry_point() -> None:
    """Run as the console script."""
    # Loading modules makes next to no garbage; looking for it would take an eighth of ``explain``.
    gc.set_threshold(50_000)
    status = main()
    # The interpreter looks for garbage at its end, too; the memory goes back with the process all the same.
    gc.freeze()
    sys.exit(status)
