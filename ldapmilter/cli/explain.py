"""``ldapmilter explain``: what happens to a message, and which value on which entry makes it happen.

Asks the directory itself, by the same code as the daemon, and waits for long lists; with ``--live`` it
asks the running daemon, cache and all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.cli import asking, decision_text, exit_status, sample_message, waiting
from ldapmilter.config import load
from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.channel import about
from ldapmilter.plain import plain_json
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.explanation import explanation

if TYPE_CHECKING:
    import argparse

    from ldapmilter.config import Config
    from ldapmilter.policy.explanation import ExplanationDocument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    sample_message.add_options(parser)
    parser.add_argument("--live", action="store_true", help="ask the running daemon, with what its cache holds")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    message = sample_message.read(options)
    decision = _ask_daemon(options.config, message) if options.live else _decide(load(options.config), message)
    if options.json:
        print(plain_json(decision, indent=1))
    else:
        # A daemon of an earlier version does not say what does not happen.
        print(decision_text.as_text(decision, decision.get("not_applied", [])))
    if decision["unavailable"] or decision["incomplete"]:
        return exit_status.DIRECTORY_UNAVAILABLE
    return exit_status.FINE if decision["verdict"] == "accept" else exit_status.PROBLEM


def _decide(config: Config, message: sample_message.SampleMessage) -> ExplanationDocument:
    active = ActiveConfiguration.of(config)
    try:
        basis = Basis()
        decision = waiting.whole(lambda: active.explain(message.envelope, message.headers, basis), active.opened.loads)
        return explanation(decision, active.why_not(decision, basis))
    finally:
        active.opened.close()


def _ask_daemon(file: str, message: sample_message.SampleMessage) -> ExplanationDocument:
    request = about("explain", message.envelope) | {"fields": [list(field) for field in message.headers.fields]}
    decision: ExplanationDocument = asking.ask(file, request, takes=asking.LOOKUP_SECONDS)["decision"]
    return decision
