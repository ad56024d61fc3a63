"""``ldapmilter explain``: what happens to a message, and which value on which entry makes it happen.

Asks the directory itself, by the same code as the daemon; with ``--live`` it asks the running daemon,
cache and all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ldapmilter.cli import decision_text, exit_status, sample_message
from ldapmilter.config import load
from ldapmilter.daemon.control_client import ask
from ldapmilter.daemon.service import Standing
from ldapmilter.policy.decision_json import DecisionJson, as_json

if TYPE_CHECKING:
    import argparse

    from ldapmilter.cli.types import Verbs
    from ldapmilter.config import Config


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("explain", help="the decision for a message, and its reasons", allow_abbrev=False)
    sample_message.add_options(parser)
    parser.add_argument("--live", action="store_true", help="ask the running daemon, with what its cache holds")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(verb=_explain)


def _explain(options: argparse.Namespace) -> int:
    config = load(options.config)
    message = sample_message.read(options)
    decision = _ask_daemon(config, message) if options.live else _decide(config, message)
    if options.json:
        print(json.dumps(decision, indent=1, ensure_ascii=False))
    else:
        print(decision_text.as_text(decision))
    if decision["unavailable"] or decision["incomplete"]:
        return exit_status.DIRECTORY_UNAVAILABLE
    return exit_status.FINE if decision["verdict"] == "accept" else exit_status.PROBLEM


def _decide(config: Config, message: sample_message.SampleMessage) -> DecisionJson:
    standing = Standing.of(config)
    try:
        return as_json(standing.explain(message.envelope, message.headers))
    finally:
        standing.opened.close()


def _ask_daemon(config: Config, message: sample_message.SampleMessage) -> DecisionJson:
    envelope = message.envelope
    request = {
        "verb": "explain",
        "login": envelope.login,
        "client": envelope.client,
        "daemon_port": envelope.daemon_port,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "fields": [list(field) for field in message.headers.fields],
    }
    decision: DecisionJson = ask(config, request)["decision"]
    return decision
