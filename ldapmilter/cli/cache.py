"""``ldapmilter cache``: forget answers, count them, look at them, in every worker of the running daemon."""

from __future__ import annotations

import json

from ldapmilter.cli import arguments, exit_status
from ldapmilter.cli.asking import ask
from ldapmilter.cli.complaint import complain
from ldapmilter.cli.words import counted
from ldapmilter.plain import plain
from ldapmilter.similar import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

_NOTHING = {
    "address": "nobody has it",
    "id": "no entry has this id",
    "managed": "nobody is in it",
    "custom": "nobody is in it",
    "naming": "no list names it as a member",
    "dynamic": "no dynamic group has this id",
    "sources": "it has no external accounts",
}
"""What it means that an answer holds no entry, by its kind."""
_NO_ADDRESS = "has no account or list {!r}, and no list names it as a member"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, prog="ldapmilter cache")
    flush = actions.add_parser(
        "flush",
        help="forget answers, so that a change acts from the next message on",
        description="An address stands for its whole entry and the groups that contain it."
        " Returns when every worker has forgotten.",
        allow_abbrev=False,
    )
    flush.add_argument("addresses", metavar="ADDRESS", nargs="*", type=arguments.address, help="accounts and groups")
    flush.add_argument("--cos", metavar="NAME", help="a COS, by name or zimbraId")
    flush.add_argument(
        "--domain",
        metavar="D",
        type=arguments.domain,
        help="a domain, its alias domains, all their addresses, global config",
    )
    flush.add_argument("--all", action="store_true", help="everything")
    flush.add_argument("--json", action="store_true", help="for programs")
    flush.set_defaults(action=lambda options: _flush(flush, options))
    stats = actions.add_parser("stats", help="its statistics", allow_abbrev=False)
    stats.add_argument("--json", action="store_true", help="for programs")
    stats.set_defaults(action=_stats)
    show = actions.add_parser("show", help="what it holds about an address", allow_abbrev=False)
    show.add_argument("address", metavar="ADDRESS", type=arguments.address)
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(action=_show)


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    status: int = options.action(options)
    return status


def _flush(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if not (options.addresses or options.cos or options.domain or options.all):
        parser.error("say what to forget: ADDRESS..., --cos NAME, --domain D or --all")
    if options.all and (options.addresses or options.cos or options.domain):
        parser.error("--all is everything: leave the other names out, or leave --all out")
    request = {
        "verb": "flush",
        "addresses": options.addresses,
        "cos": options.cos,
        "domain": options.domain,
        "all": options.all,
    }
    answer = ask(options.config, request)
    if options.json:
        print(json.dumps(answer))
    else:
        forgot = f"{counted(answer['entries'], 'answer')} in {counted(answer['workers'], 'worker')}"
        print(f"forgot {forgot}{_none_held(answer)}")
        for pid in answer["killed"]:
            print(f"worker {pid} did not confirm: it was killed, and its successor begins with an empty cache")
    # A daemon of an older version says nothing of names.
    for one in answer.get("unknown", ()):
        what = _NO_ADDRESS if one["kind"] == "address" else f"has no {one['kind']} {{!r}}"
        complain(f"the directory {what.format(one['name'])}{did_you_mean(one['near'])}")
    if (why := answer.get("not_asked")) is not None:
        complain(f"directory unavailable: whether it has what was named could not be asked: {why}")
        return exit_status.DIRECTORY_UNAVAILABLE
    return exit_status.PROBLEM if answer["killed"] or answer.get("unknown") else exit_status.FINE


def _none_held(answer: dict[str, Any]) -> str:
    """Return why nothing was forgotten, where nothing was and what was named exists."""
    if answer["entries"] or answer["killed"] or answer.get("unknown") or answer.get("not_asked") is not None:
        return ""
    return ": none was held, so the next message asks the directory anyway"


def _stats(options: argparse.Namespace) -> int:
    status = ask(options.config, {"verb": "status"})
    counts: dict[str, Any] = status["counts"].get("cache", {})
    numbers = {"entries": status["cached"], "workers": len(status["workers"]), **counts}
    if options.json:
        print(json.dumps(numbers))
        return exit_status.FINE
    asked = counts.get("hits", 0) + counts.get("misses", 0)
    share = f"{100 * counts.get('hits', 0) / asked:.1f} %" if asked else "nothing was asked for yet"
    print(f"entries    {numbers['entries']} in {counted(numbers['workers'], 'worker')}")
    print(f"hits       {counts.get('hits', 0)} of {asked} ({share})")
    print(f"refreshed  {counts.get('refreshed', 0)} ahead of their expiry")
    print(f"stale      {counts.get('stale', 0)} served while the directory failed")
    print(f"failures   {counts.get('failures', 0)}")
    return exit_status.FINE


def _show(options: argparse.Namespace) -> int:
    answer = ask(options.config, {"verb": "show", "address": options.address})
    if options.json:
        print(json.dumps(answer))
    else:
        for worker in answer["workers"]:
            if "error" in worker:
                print(f"worker {worker['pid']}  {plain(str(worker['error']))}")
                continue
            if not worker["answers"]:
                print(f"worker {worker['pid']}  nothing: the next message asks the directory")
            for held in worker["answers"]:
                what = ", ".join(held["dns"]) or _NOTHING.get(held["kind"], "there is none")
                left = held["fresh_for"]
                age = f"fresh for {left:g} s" if left > 0 else f"out of date since {-left:g} s, kept for an outage"
                line = f"{held['kind']} {held['key']}: {what}  ({held['age']:g} s old, {age})"
                print(f"worker {worker['pid']}  {plain(line)}")
        for pid in answer["silent"]:
            print(f"worker {pid}  does not answer")
    return exit_status.PROBLEM if answer["silent"] else exit_status.FINE
