"""``ldapmilter run``: the daemon, in the foreground."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from ldapmilter.config import load
from ldapmilter.daemon import parent
from ldapmilter.daemon.log import log_to

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "--log", choices=("stderr", "syslog"), default="stderr", help="where log lines go (default: %(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for messages without any effect, too")


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    gc.set_threshold(700)  # Python's own: what stays for weeks must not wait for garbage to heap up
    config = load(options.config)
    log_to(options.log, verbose=options.verbose)
    return parent.run(config, options.log)
