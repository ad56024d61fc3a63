"""``ldapmilter cache``: forget answers, count them, look at them, in every worker of the running daemon."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ldapmilter.address import parse_address
from ldapmilter.cli import exit_status
from ldapmilter.config import load
from ldapmilter.daemon.control_client import ask

if TYPE_CHECKING:
    from ldapmilter.cli.types import Verbs


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("cache", help="the running daemon's cache", allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    flush = actions.add_parser(
        "flush",
        help="forget answers, so that a change acts from the next message on",
        description="An address stands for its whole entry and the groups that contain it."
        " Returns when every worker has forgotten.",
        allow_abbrev=False,
    )
    flush.add_argument("addresses", metavar="ADDRESS", nargs="*", type=_address, help="accounts and groups")
    flush.add_argument("--cos", metavar="NAME", help="a COS, by name or zimbraId")
    flush.add_argument("--domain", metavar="D", help="a domain, its alias domains, all their addresses, global config")
    flush.add_argument("--all", action="store_true", help="everything")
    flush.add_argument("--json", action="store_true", help="for programs")
    flush.set_defaults(verb=lambda options: _flush(flush, options))
    stats = actions.add_parser("stats", help="how well it does", allow_abbrev=False)
    stats.add_argument("--json", action="store_true", help="for programs")
    stats.set_defaults(verb=_stats)
    show = actions.add_parser("show", help="what it holds about an address", allow_abbrev=False)
    show.add_argument("address", metavar="ADDRESS", type=_address)
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(verb=_show)


def _address(text: str) -> str:
    if parse_address(text) is None:
        message = f"{text!r} is no address"
        raise argparse.ArgumentTypeError(message)
    return text


def _flush(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if not (options.addresses or options.cos or options.domain or options.all):
        parser.error("say what to forget: ADDRESS..., --cos NAME, --domain D or --all")
    request = {
        "verb": "flush",
        "addresses": options.addresses,
        "cos": options.cos,
        "domain": options.domain,
        "all": options.all,
    }
    answer = ask(load(options.config), request)
    if options.json:
        print(json.dumps(answer))
    else:
        print(f"forgot {answer['entries']} answers in {answer['workers']} workers")
        for pid in answer["killed"]:
            print(f"worker {pid} did not confirm: it was killed, and its successor begins with an empty cache")
    return exit_status.PROBLEM if answer["killed"] else exit_status.FINE


def _stats(options: argparse.Namespace) -> int:
    status = ask(load(options.config), {"verb": "status"})
    counts: dict[str, Any] = status["counts"].get("cache", {})
    numbers = {"entries": status["cached"], "workers": len(status["workers"]), **counts}
    if options.json:
        print(json.dumps(numbers))
        return exit_status.FINE
    asked = counts.get("hits", 0) + counts.get("misses", 0)
    share = f"{100 * counts.get('hits', 0) / asked:.1f} %" if asked else "nothing was asked for yet"
    print(f"entries    {numbers['entries']} in {numbers['workers']} workers")
    print(f"hits       {counts.get('hits', 0)} of {asked} ({share})")
    print(f"refreshed  {counts.get('refreshed', 0)} ahead of their expiry")
    print(f"stale      {counts.get('stale', 0)} served while the directory failed")
    print(f"failures   {counts.get('failures', 0)}")
    return exit_status.FINE


def _show(options: argparse.Namespace) -> int:
    answer = ask(load(options.config), {"verb": "show", "address": options.address})
    if options.json:
        print(json.dumps(answer))
    else:
        for worker in answer["workers"]:
            if not worker["answers"]:
                print(f"worker {worker['pid']}  nothing: the next message asks the directory")
            for held in worker["answers"]:
                what = ", ".join(held["dns"]) or "known to be absent"
                left = held["fresh_for"]
                age = f"fresh for {left:g} s" if left > 0 else f"out of date since {-left:g} s, kept for an outage"
                print(f"worker {worker['pid']}  {held['kind']} {held['key']}: {what}  ({held['age']:g} s old, {age})")
        for pid in answer["silent"]:
            print(f"worker {pid}  does not answer")
    return exit_status.PROBLEM if answer["silent"] else exit_status.FINE
