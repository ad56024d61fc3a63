"""``ldapmilter run``: the daemon, in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.config import load
from ldapmilter.daemon import parent
from ldapmilter.daemon.log import log_to

if TYPE_CHECKING:
    import argparse

    from ldapmilter.cli.types import Verbs


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("run", help="the daemon, in the foreground", allow_abbrev=False)
    parser.add_argument(
        "--log", choices=("stderr", "syslog"), default="stderr", help="where log lines go (default: %(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for messages without any effect, too")
    parser.set_defaults(verb=_run)


def _run(options: argparse.Namespace) -> int:
    config = load(options.config)
    log_to(options.log, verbose=options.verbose)
    return parent.run(config, options.log)
