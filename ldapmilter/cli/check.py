"""``ldapmilter check``: what is wrong around the milter, and how to mend it."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ldapmilter.checks import milter_socket
from ldapmilter.checks.finding import Severity
from ldapmilter.checks.survey import Wishes, look_around
from ldapmilter.checks.visibility import Somebody
from ldapmilter.cli import check_output, exit_status
from ldapmilter.config import load, read_secret
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ldapmilter.checks.finding import Report
    from ldapmilter.cli.types import Verbs


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "check",
        help="what is wrong around the milter, and how to mend it",
        description="Looks at the configuration, the milter's socket, every LDAP server, Postfix, and the settings of"
        " the"
        " directory. Changes nothing.",
        epilog="exit status: 0 nothing above a note, 1 a warning or a problem, 2 usage or configuration,"
        " 3 the directory cannot be asked, 4 the daemon does not answer and nothing else is a problem;"
        " with --nagios 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN",
        allow_abbrev=False,
    )
    parser.add_argument("--directory", action="store_true", help="every policy value in the directory too")
    parser.add_argument("--as-user", metavar="DN", help="try what this ordinary mail user can see of the policy")
    parser.add_argument("--as-password-file", metavar="FILE", type=Path, help="the password of that user")
    parser.add_argument(
        "--postconf-dir",
        metavar="DIR",
        type=Path,
        help="the directory of main.cf (default: that of postconf on this host)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--nagios", action="store_true", help="one line and the status of a monitoring plugin")
    parser.set_defaults(verb=_check)


def _check(options: argparse.Namespace) -> int:
    with _without_log():
        return _monitor(options) if options.nagios else _report(options)


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Keep the log quiet: what is wrong is told once, as a finding."""
    log = logging.getLogger("ldapmilter")
    handler, propagate = logging.NullHandler(), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def _monitor(options: argparse.Namespace) -> int:
    started = time.monotonic()
    try:
        report = look_around(load(options.config), _wishes(options))
    except ConfigError as error:
        status, line = check_output.nagios_unknown(error)
    else:
        status, line = check_output.as_nagios(report, time.monotonic() - started)
    print(line)
    return status


def _report(options: argparse.Namespace) -> int:
    config, wishes = load(options.config), _wishes(options)
    # Only a terminal shows it: a large directory takes minutes.
    with Console(stderr=True).status("looking around ..."):
        report = look_around(config, wishes)
    if options.json:
        print(json.dumps(check_output.as_json(report), indent=1, ensure_ascii=False))
    elif sys.stdout.isatty():
        console = Console()
        console.print(check_output.as_table(report))
        console.print(check_output.summary(report), markup=False)
    else:
        print(check_output.as_text(report))
        print(check_output.summary(report))
    return status_of(report)


def _wishes(options: argparse.Namespace) -> Wishes:
    if (options.as_user is None) != (options.as_password_file is None):
        raise ConfigError("--as-user DN and --as-password-file FILE go together")
    somebody = None
    if options.as_user is not None:
        password = read_secret(options.as_password_file, "--as-password-file")
        somebody = Somebody(dn=options.as_user, password=password)
    if options.postconf_dir is not None and not (options.postconf_dir / "main.cf").exists():
        raise ConfigError(f"--postconf-dir {options.postconf_dir}: has no main.cf")
    return Wishes(directory=options.directory, somebody=somebody, postfix_directory=options.postconf_dir)


def status_of(report: Report) -> int:
    """Return the exit status: the worst of what was found, by what an administrator has to look at first."""
    if not report.directory_asked:
        return exit_status.DIRECTORY_UNAVAILABLE
    unreachable = milter_socket.UNREACHABLE.code
    if any(one.severity is Severity.PROBLEM and one.code != unreachable for one in report.findings):
        return exit_status.PROBLEM
    if not report.daemon_reached:
        return exit_status.DAEMON_UNREACHABLE
    return exit_status.FINE if report.worst is Severity.NOTE else exit_status.PROBLEM
