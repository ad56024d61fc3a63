"""``ldapmilter explain``: what happens to a message, and which value on which entry makes it happen.

Asks the directory itself, by the same code as the daemon.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ldapmilter.cli import decision_text, exit_status, sample_message
from ldapmilter.config import load
from ldapmilter.directory.opening import open_directory
from ldapmilter.policy.decide import decide

if TYPE_CHECKING:
    import argparse

    from ldapmilter.cli.types import Verbs
    from ldapmilter.config import Config
    from ldapmilter.policy.model import Decision


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("explain", help="the decision for a message, and its reasons", allow_abbrev=False)
    sample_message.add_options(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(verb=_explain)


def _explain(options: argparse.Namespace) -> int:
    config = load(options.config)
    decision = _decide(config, sample_message.read(options))
    if options.json:
        print(json.dumps(decision_text.as_json(decision), indent=1, ensure_ascii=False))
    else:
        print(decision_text.as_text(decision))
    if decision.unavailable or decision.incomplete:
        return exit_status.DIRECTORY_UNAVAILABLE
    return exit_status.FINE if decision.verdict == "accept" else exit_status.PROBLEM


def _decide(config: Config, message: sample_message.SampleMessage) -> Decision:
    opened = open_directory(config)
    try:
        view = opened.directory.for_message(lenient=config.policy.directory_failure == "accept")
        today = datetime.now(timezone.utc).date()
        decision = decide(message.envelope, view, config.policy, today=today)
        if decision.headers_needed:
            decision = decide(message.envelope, view, config.policy, today=today, headers=message.headers)
    finally:
        opened.close()
    return decision
