"""``ldapmilter relay``: the copy relay, in the foreground; ``run`` starts it where ``[relay] listen`` is set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from ldapmilter.config import load
from ldapmilter.daemon import relay_process
from ldapmilter.daemon.log import log_to


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "--log", choices=("stderr", "syslog"), default="stderr", help="where log lines go (default: %(default)s)"
    )
    # How the daemon hands over its socket and a channel: descriptors that it leaves open.
    parser.add_argument("--inherit", nargs=2, type=int, metavar=("SOCKET", "CHANNEL"), help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> NoReturn:
    """Run the verb; it ends with the process."""
    log_to(options.log)
    if options.inherit is not None:
        relay_process.run_under_parent(Path(options.config), options.log, *options.inherit)
    relay_process.run_alone(load(options.config), options.log)
