"""``ldapmilter status``: the state of the running daemon, in a few lines."""

from __future__ import annotations

import json
import time

from ldapmilter.cli import exit_status
from ldapmilter.cli.asking import ask_and_compare
from ldapmilter.cli.words import moment
from ldapmilter.daemon.status_words import client_in_words, kept_in_words, late_in_words, waits_in_words
from ldapmilter.durations import in_words
from ldapmilter.plain import plain
from ldapmilter.service import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from ldapmilter.cli.asking import FileState
    from ldapmilter.daemon.channel import Message
    from ldapmilter.service import Action


_CLIENTS = 3
"""Unknown clients that get a line; ``--json`` has more."""
_SILENT = 3.0
"""Seconds without a word from a worker, which reports every second, that are worth a line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    status, file = ask_and_compare(options.config, {"verb": "status"})
    problems = [*_problems(status), *_file_problems(status, file)]
    if options.json:
        print(json.dumps({**status, "file": {"state": file.state, "problem": file.problem}}, indent=1))
    else:
        print("\n".join(map(plain, (*_lines(status, file), *(f"PROBLEM   {text}" for text in problems)))))
    return exit_status.PROBLEM if problems else exit_status.FINE


def _problems(status: Message) -> Iterator[str]:
    missing = status["workers_wanted"] - len(status["workers"])
    if missing > 0:
        yield f"{missing} of {status['workers_wanted']} workers are missing; the log says why"
    for worker in status["workers"]:
        if worker["silent_for"] > _SILENT:
            silence = f"{worker['silent_for']:g} s"
            yield f"worker {worker['pid']} has not reported for {silence}; it is killed if that goes on"
    yield from status.get("own_problems", ())  # a daemon of an older version says nothing of it
    yield from (f"directory: {text}" for text in status["directory"]["problems"])
    waiting = {one["cause"]: waits_in_words(one) for one in status.get("waiting", ())}
    for name in status["invalid_values"]:
        text = f"copy class {name} has met an invalid value in the last hour; ldapmilter check --directory lists it"
        told = [waiting.pop(cause) for cause in [*waiting] if f"copy class {name}" in cause]
        yield "; ".join([text, *told])
    yield from (f"{text}; the audit says which" for text in waiting.values())
    if (relay := status.get("relay")) is not None:
        yield from _relay_problems(relay, time.time())
    if status["audit_fails"]:
        yield "the audit cannot be written, so mail that needs it is deferred; the log says why"


def _file_problems(status: Message, file: FileState) -> Iterator[str]:
    """Yield what keeps the file from being in force: what is wrong with it now, not what was once."""
    failure = status["reload_failure"]
    if file.problem is not None:
        yield f"a reload would be refused: {file.problem}"
    elif failure is None:
        return
    elif file.state == "unknown":
        yield f"the configuration was not reloaded: {failure}"
    elif status["reload_failed_digest"] == file.digest:
        at = moment(status["reload_failed_at"])
        yield f"the configuration was not reloaded at {at}: {failure}; reload again when that is corrected"
    elif file.state == "changed":
        refused = moment(status["reload_failed_at"])
        yield f"the reload of {refused} was refused, and the file has been changed since: reload again"


_FILE = {
    "in force": "the file is the same",
    "changed": "the file has been changed since: a reload would take it over",
    "invalid": "the file has been changed since and cannot be used",
    "unknown": "the daemon is of an older version: restart it",
}

_ACTION: Mapping[str, Action] = {"changed": "reload", "unknown": "restart"}
"""What puts the file in force."""


def _lines(status: Message, file: FileState) -> Iterator[str]:
    now = time.time()
    yield f"ldapmilter {status['version']}, pid {status['pid']}, up {_duration(now - status['started_at'])}"
    yield f"listening {status['socket']}"
    how = f" ({command(action)})" if (action := _ACTION.get(file.state)) is not None else ""
    yield f"config    {status['config']}, in force since {moment(status['reloaded_at'])}; {_FILE[file.state]}{how}"
    in_flight = sum(worker["in_flight"] for worker in status["workers"])
    pids = " ".join(str(worker["pid"]) for worker in status["workers"])
    yield f"workers   {len(status['workers'])} of {status['workers_wanted']} ({pids}), {in_flight} messages in flight"
    if "most_connections" in status:
        connections = f"{status['connections']} connection{'' if status['connections'] == 1 else 's'}"
        yield f"          {connections}; each worker takes {status['most_connections']}"
    if status.get("rebound") is not None:
        yield f"          the socket had been removed, and was bound anew {_duration(now - status['rebound'])} ago"
    if status["restarts"]:
        yield f"          {status['restarts']} died and were replaced"
    verdicts = status["counts"].get("verdicts", {})
    decided = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "none yet"
    yield f"messages  {decided}" + _last(status["last_message"], now)
    effects = status["counts"].get("effects", {})
    yield "effects   " + (", ".join(f"{count} {effect}" for effect, count in sorted(effects.items())) or "none yet")
    for one in status.get("unknown_clients", ())[:_CLIENTS]:
        yield f"unknown   {client_in_words(one, now)}"
    cache = status["counts"].get("cache", {})
    yield (
        f"cache     {status['cached']} entries, {cache.get('hits', 0)} hits, {cache.get('misses', 0)} misses,"
        f" {cache.get('stale', 0)} stale"
    )
    yield from _directory(status["directory"], now)
    yield from _following(status.get("following"))
    if (relay := status.get("relay")) is not None:
        yield from _relay(relay, now)
    if (seal := status.get("seal")) is not None:
        yield f"audit     seal {seal['number']}, {_duration(now - seal['at'])} ago"
    yield from (f"NOT APPLIED {text}" for text in status["not_applied"])


def _directory(directory: Message, now: float) -> Iterator[str]:
    if not directory["servers"]:
        yield "directory a file in memory" if directory["embedded"] else "directory was not asked yet"
    for server in directory["servers"]:
        answered = server["answered_at"]
        last = "has not answered yet" if answered is None else f"last answer {in_words(now - answered)} ago"
        if server["up"] is None:
            yield f"directory {server['uri']} was not asked yet"
        elif not server["up"]:
            yield f"directory {server['uri']} does not answer; {last}"
        elif server["unreadable"]:
            yield f"directory {server['uri']} answers, and hides policy; {last}"
        else:
            yield f"directory {server['uri']} answers, and the policy can be read; {last}"


def _relay(relay: Message, now: float) -> Iterator[str]:
    yield f"relay     {relay['listen']}; {relay['domain']}: {relay['route']}, {relay['route_text']}"
    if relay.get("waiting") is None:
        return  # it has not reported yet
    waiting = f"{relay['waiting']} waiting"
    if relay["oldest"] is not None:
        waiting += f", the oldest for {in_words(now - relay['oldest'])}"
    counts = relay["counts"]
    since = ", ".join(f"{counts.get(end, 0)} {end}" for end in ("accepted", "refused"))
    yield f"copies    {waiting}; {relay['kept']} kept; {since} since the relay was started"
    yield from (f"          {hop} is down: {why}" for hop, why in relay["down"].items())


def _relay_problems(relay: Message, now: float) -> Iterator[str]:
    for text in (kept_in_words(relay), late_in_words(relay, now)):
        if text is not None:
            yield f"{text}; see ldapmilter copies"


def _following(following: Message | None) -> Iterator[str]:
    if following is None:  # a daemon of an older version
        return
    if following["why_not"] is not None:
        yield f"changes   not followed, they act within [cache] ttl or after a flush: {following['why_not']}"
        return
    seen = f"{following['changes']} entries changed, {following['answers']} answers asked for anew"
    everything = f"; everything {following['outdated']} times" if following["outdated"] else ""
    behind = f"{following['seconds_behind']:g} s behind"
    yield f"changes   of {following['server']} are followed, {behind}; {seen}{everything}"


def _last(last_message: float | None, now: float) -> str:
    return "" if last_message is None else f"; the last one {_duration(now - last_message)} ago"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
