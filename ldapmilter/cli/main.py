"""``ldapmilter [--config FILE] VERB``: parse, dispatch, and turn every expected error into one line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter import __version__
from ldapmilter.cli import audit, cache, check, coverage, exit_status, explain, probe, run, schema, status
from ldapmilter.config import DEFAULT_PATH
from ldapmilter.errors import ConfigError, DaemonUnreachable, DirectoryUnavailable, LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERBS = (run, explain, probe, check, status, cache, audit, coverage, schema)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    options = command_line().parse_args(arguments)
    try:
        exit_code: int = options.verb(options)
    except ConfigError as error:
        return _complain(error, exit_status.USAGE)
    except DirectoryUnavailable as error:
        return _complain(f"directory unavailable: {error}", exit_status.DIRECTORY_UNAVAILABLE)
    except DaemonUnreachable as error:
        return _complain(error, exit_status.DAEMON_UNREACHABLE)
    except LdapmilterError as error:
        return _complain(error, exit_status.PROBLEM)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone away (| head): nothing to complain about
        return exit_status.PROBLEM
    return exit_code


def _complain(error: object, code: int) -> int:
    print(f"ldapmilter: {error}", file=sys.stderr)
    return code


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="ldapmilter",
        description="Archive copies, legal copies and From rewriting for Zimbra, driven by its LDAP directory.",
        epilog="exit status: 0 fine, 1 problem found, 2 usage or configuration,"
        " 3 directory unavailable, 4 daemon not reachable",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ldapmilter {__version__}")
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help="configuration (default: %(default)s)"
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in _VERBS:
        verb.add_to(verbs)
    return parser


def entry_point() -> None:
    """Run as the console script."""
    sys.exit(main())
