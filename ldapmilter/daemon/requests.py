"""What a worker answers: reports about itself, flushes, a look into the cache, a decision.

A request is ``{"verb": ...}`` with the verb's arguments; an answer is a JSON object. The parent sends
a flush to every worker and the others to one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ldapmilter.address import parse_address
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.directory import cache_view, flush
from ldapmilter.directory.opening import open_directory
from ldapmilter.message import Envelope, Headers
from ldapmilter.policy.decision_json import as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.service import Service
    from ldapmilter.directory.cache import Cache


def serve(service: Service, request: Message) -> Message:
    """Return the answer to a request.

    Raises:
        RequestRefused: there is no such verb, or an argument is wrong.
    """
    verbs: Mapping[str, Callable[[Service, Message], Message]] = {
        "flush": _flush,
        "show": _show,
        "explain": _explain,
    }
    serving = verbs.get(str(request.get("verb")))
    if serving is None:
        message = f"no such verb: {request.get('verb')!r}"
        raise RequestRefused(message)
    return serving(service, request)


def try_out(config: Config) -> Message:
    """Read, as a configuration has it, what every message needs; nothing is kept of it.

    Raises:
        DirectoryUnavailable: it cannot be read.
    """
    opened = open_directory(config)
    try:
        opened.directory.for_message().warm_up()
    finally:
        opened.close()
    return {}


def report(service: Service, *, dropped_lines: int) -> Message:
    """Return what a worker says of itself every second.

    ``counts`` only ever grow and add up over workers; everything else is how things stand now.
    """
    opened = service.standing.opened
    counts = service.tally.numbers()
    counts.update(service.directory_numbers())
    counts["events"] = {**counts["events"], "dropped_log_lines": dropped_lines}
    return {
        "counts": counts,
        "cached": len(opened.cache),
        "sessions": service.sessions,
        "in_flight": service.in_flight,
        "servers": opened.store.states(),
        "problems": opened.store.problems(),
        "last_message": service.last_message,
    }


def _flush(service: Service, request: Message) -> Message:
    return {"entries": sum(_flushed(cache, request) for cache in service.caches())}


def _flushed(cache: Cache, request: Message) -> int:
    flushes: Mapping[str, Callable[[Cache, str], int]] = {
        "cos": flush.flush_cos,
        "domain": flush.flush_domain,
    }
    if request.get("all"):
        return cache.flush()
    entries = sum(
        flushing(cache, name) for kind, flushing in flushes.items() if (name := _text(request, kind)) is not None
    )
    if addresses := _texts(request, "addresses"):
        entries += flush.flush_addresses(cache, addresses)
    return entries


def _show(service: Service, request: Message) -> Message:
    address = _text(request, "address") or ""
    if parse_address(address) is None:
        message = f"{address!r} is no address"
        raise RequestRefused(message)
    return {"answers": cache_view.held(service.standing.opened.cache, address, time.monotonic())}


def _explain(service: Service, request: Message) -> Message:
    port = request.get("daemon_port")
    decision = service.standing.explain(
        Envelope(
            login=_text(request, "login"),
            client=_text(request, "client"),
            sender=_text(request, "sender") or "",
            recipients=tuple(_texts(request, "recipients")),
            daemon_port=port if isinstance(port, int) else None,
        ),
        Headers(fields=_fields(request)),
    )
    return {"decision": as_json(decision)}


def _fields(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    fields = request.get("fields") or []
    try:
        pairs = tuple((name, value) for name, value in fields)
    except (TypeError, ValueError):
        pairs = ((None, None),)
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        message = "fields is not a list of names with values"
        raise RequestRefused(message)
    return pairs


def _text(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        message = f"{name} is not a text"
        raise RequestRefused(message)
    return value


def _texts(request: Mapping[str, Any], name: str) -> list[str]:
    values = request.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        message = f"{name} is not a list of texts"
        raise RequestRefused(message)
    return values
