"""``ldapmilter check``: what is wrong around the milter, and how to correct it."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.checks import acceptance, catalogue, milter_socket
from ldapmilter.checks.finding import Severity
from ldapmilter.checks.survey import CheckOptions, look_around, look_at_configuration
from ldapmilter.checks.visibility import MailUser
from ldapmilter.cli import arguments, check_output, exit_status, nagios
from ldapmilter.config import load
from ldapmilter.errors import ConfigError
from ldapmilter.plain import plain_json
from ldapmilter.secret_file import read_secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ldapmilter.checks.finding import Report


_DESCRIPTION = """\
Looks at the configuration, the milter's socket, every LDAP server, Postfix, and the settings of the directory.
Changes nothing.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "--config-only",
        action="store_true",
        help="only whether the configuration can be used, and whether a reload would take it over",
    )
    parser.add_argument("--directory", action="store_true", help="every policy value in the directory too")
    parser.add_argument(
        "--as-user", metavar="DN", type=arguments.dn, help="try what this ordinary mail user can see of the policy"
    )
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


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    with _without_log():
        return _monitor(options) if options.nagios else _report(options)


def _waiting() -> contextlib.AbstractContextManager[object]:
    """Show on a terminal that something goes on: a large directory takes minutes."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from rich.console import Console  # noqa: PLC0415 - for a terminal only

    return Console(stderr=True).status("looking around ...")


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
        report = _look(options)
    except ConfigError as error:
        status, line = nagios.unknown(error)
    else:
        status, line = check_output.as_nagios(report, time.monotonic() - started)
    print(line)
    return status


def _report(options: argparse.Namespace) -> int:
    with _waiting():
        report = _look(options)
    if options.json:
        print(plain_json(check_output.as_json(report), indent=1))
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - for a terminal only

        console = Console()
        console.print(check_output.as_table(report))
        console.print(check_output.summary(report), markup=False)
    else:
        print(check_output.as_text(report))
        print(check_output.summary(report))
    return status_of(report, asks_directory=not options.config_only)


def _look(options: argparse.Namespace) -> Report:
    """Return what was found, with what is accepted apart.

    Raises:
        ConfigError: the configuration cannot be used for that.
    """
    config, wanted = load(options.config), _check_options(options)
    acceptance.check_codes(config, {kind.code for kind in catalogue.KINDS})
    if options.config_only and wanted != CheckOptions():
        raise ConfigError("--config-only looks at the configuration alone: it goes without the other options of check")
    report = look_at_configuration(config) if options.config_only else look_around(config, wanted)
    if not wanted.directory:
        report.not_looked_for |= catalogue.OF_VALUES
    acceptance.apply(config, report)
    return report


def _check_options(options: argparse.Namespace) -> CheckOptions:
    if (options.as_user is None) != (options.as_password_file is None):
        raise ConfigError("--as-user DN and --as-password-file FILE go together")
    mail_user = None
    if options.as_user is not None:
        password = read_secret(options.as_password_file, "--as-password-file")
        mail_user = MailUser(dn=options.as_user, password=password)
    if options.postconf_dir is not None and not (options.postconf_dir / "main.cf").exists():
        raise ConfigError(f"--postconf-dir {options.postconf_dir}: has no main.cf")
    return CheckOptions(directory=options.directory, mail_user=mail_user, postfix_directory=options.postconf_dir)


def status_of(report: Report, *, asks_directory: bool = True) -> int:
    """Return the exit status: the worst of what was found, by what an administrator has to look at first."""
    if asks_directory and not report.directory_asked:
        return exit_status.DIRECTORY_UNAVAILABLE
    unreachable = milter_socket.UNREACHABLE.code
    if any(one.severity is Severity.PROBLEM and one.code != unreachable for one in report.findings):
        return exit_status.PROBLEM
    if not report.daemon_reached and not any(one.code == unreachable for one in report.accepted):
        return exit_status.DAEMON_UNREACHABLE
    return exit_status.FINE if report.worst is Severity.NOTE else exit_status.PROBLEM
