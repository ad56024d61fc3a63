"""``ldapmilter status``: how the running daemon is, in a few lines."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from ldapmilter.cli import exit_status
from ldapmilter.config import load
from ldapmilter.daemon.control_client import ask

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ldapmilter.cli.types import Verbs
    from ldapmilter.daemon.channel import Message


_SILENT = 3.0
"""Seconds without a word from a worker, which reports every second, that are worth a line."""


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("status", help="how the running daemon is", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(verb=_status)


def _status(options: argparse.Namespace) -> int:
    status = ask(load(options.config), {"verb": "status"})
    problems = list(_problems(status))
    if options.json:
        print(json.dumps(status, indent=1))
    else:
        print("\n".join((*_lines(status), *(f"PROBLEM   {text}" for text in problems))))
    return exit_status.PROBLEM if problems else exit_status.FINE


def _problems(status: Message) -> Iterator[str]:
    missing = status["workers_wanted"] - len(status["workers"])
    if missing > 0:
        yield f"{missing} of {status['workers_wanted']} workers are missing; the log says why"
    for worker in status["workers"]:
        if worker["silent_for"] > _SILENT:
            silence = f"{worker['silent_for']:g} s"
            yield f"worker {worker['pid']} has not been heard for {silence}; it is killed if that goes on"
    yield from (f"directory: {text}" for text in status["problems"])
    if status["reload_failure"] is not None:
        yield f"the configuration was not reloaded: {status['reload_failure']}"


def _lines(status: Message) -> Iterator[str]:
    now = time.time()
    yield f"ldapmilter {status['version']}, pid {status['pid']}, up {_duration(now - status['started_at'])}"
    yield f"listening {status['socket']}"
    loaded = datetime.fromtimestamp(status["reloaded_at"]).astimezone().isoformat(" ", "seconds")
    yield f"config    {status['config']}, loaded {loaded}"
    in_flight = sum(worker["in_flight"] for worker in status["workers"])
    pids = " ".join(str(worker["pid"]) for worker in status["workers"])
    yield f"workers   {len(status['workers'])} of {status['workers_wanted']} ({pids}), {in_flight} messages in flight"
    if status["restarts"]:
        yield f"          {status['restarts']} died and were replaced"
    verdicts = status["counts"].get("verdicts", {})
    decided = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "none yet"
    yield f"messages  {decided}" + _last(status["last_message"], now)
    effects = status["counts"].get("effects", {})
    yield "effects   " + (", ".join(f"{count} {effect}" for effect, count in sorted(effects.items())) or "none yet")
    cache = status["counts"].get("cache", {})
    yield (
        f"cache     {status['cached']} entries, {cache.get('hits', 0)} hits, {cache.get('misses', 0)} misses,"
        f" {cache.get('stale', 0)} stale"
    )
    if not status["problems"]:
        yield "directory answers, and the policy can be read"
    yield from (f"NOT APPLIED {text}" for text in status["not_applied"])


def _last(last_message: float | None, now: float) -> str:
    return "" if last_message is None else f"; the last one {_duration(now - last_message)} ago"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
