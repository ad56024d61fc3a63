"""``ldapmilter run``: the daemon, in the foreground."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

from ldapmilter.config import load
from ldapmilter.daemon.service import Service

if TYPE_CHECKING:
    import argparse

    from ldapmilter.cli.types import Verbs


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("run", help="the daemon, in the foreground", allow_abbrev=False)
    parser.set_defaults(verb=_run)


def _run(options: argparse.Namespace) -> int:
    # Threads belong to libmilter, and naming them costs a third of the throughput.
    logging.logThreads = False
    # Decoding answers makes hundreds of short-lived objects per entry; collecting every 700 of them
    # would cost a fifth of a large look-up.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    status = Service(load(options.config)).run()
    logging.shutdown()
    sys.stdout.flush()
    # libmilter's threads are still in C: an orderly end of the interpreter could meet them there.
    os._exit(status)
