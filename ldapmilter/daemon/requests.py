"""What a worker answers: reports about itself, flushes, a look into the cache, a decision.

A request is ``{"verb": ...}`` with the verb's arguments; an answer is a JSON object. The parent sends
a flush, and what has changed in the directory, to every worker, ``warm`` to all but the one that asked
for it, ``waiting`` to each with its own news, and the others to one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ldapmilter.address import envelope_address, parse_address, stored_addresses
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.directory import cache_view, flush
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.names import unknown_addresses, unknown_cos, unknown_domain
from ldapmilter.message import Envelope, Headers
from ldapmilter.mta.probe import probe
from ldapmilter.opening import open_directory
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.explanation import explanation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.deciding import Decider
    from ldapmilter.directory.cache.entries import Cache
    from ldapmilter.opening import OpenDirectory


_NAMES_SECONDS = 3.0
"""For which whoever ordered a flush waits for the directory to say whether there is such a name."""
PROBE_SECONDS = 60.0
"""The longest that a probe may take that the daemon makes for a client."""


def serve(decider: Decider, request: Message) -> Message:
    """Return the answer to a request.

    Raises:
        RequestRefused: there is no such verb, or an argument is wrong.
    """
    verbs: Mapping[str, Callable[[Decider, Message], Message]] = {
        "flush": _flush,
        "names": _unknown_names,
        "trace": _trace,
        "show": _show,
        "explain": _explain,
        "probe": _probe,
        "warm": _warm,
        "waiting": _learn_what_waits,
        "changed": _changed,
        "outdated": _outdated,
    }
    serving = verbs.get(str(request.get("verb")))
    if serving is None:
        message = f"no such verb: {request.get('verb')!r}"
        raise RequestRefused(message)
    return serving(decider, request)


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


def report(decider: Decider, *, dropped_lines: int) -> Message:
    """Return what a worker says of itself every second.

    ``counts`` only ever grow and add up over workers; everything else is how things stand now.
    """
    opened = decider.configurations.active.opened
    counts = decider.tally.numbers()
    counts.update(decider.configurations.directory_numbers())
    counts["events"] = {**counts["events"], "dropped_log_lines": dropped_lines}
    return {
        "counts": counts,
        "cached": len(opened.cache),
        "sessions": decider.in_flight.sessions,
        "in_flight": decider.in_flight.messages,
        "servers": opened.store.states(),
        "last_message": decider.last_message,
        "invalid_values": dict(decider.invalid_values),
        "unknown_clients": decider.unknown_clients.report(),
        "waiting": decider.waiting.report(time.time()),
        "audit_fails": decider.audit.fails,
        "route": _route(decider),
    }


def _route(decider: Decider) -> dict[str, str] | None:
    found = decider.relayed_copies.route.route
    return {"state": found.state, "text": found.text} if found is not None else None


def _flush(decider: Decider, request: Message) -> Message:
    return {"entries": sum(_flushed(opened, request) for opened in decider.configurations.directories())}


def _changed(decider: Decider, request: Message) -> Message:
    """Take over how entries of the directory are now."""
    entries = [RawEntry(one["dn"], {k: tuple(v) for k, v in one["attributes"].items()}) for one in request["entries"]]
    return {"answers": sum(opened.directory.changed(entries) for opened in decider.configurations.directories())}


def _outdated(decider: Decider, _request: Message) -> Message:
    """Take it that anything in the directory may have changed."""
    return {"answers": sum(opened.cache.outdate() for opened in decider.configurations.directories())}


def _flushed(opened: OpenDirectory, request: Message) -> int:
    cache = opened.cache
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
        entries += flush.flush_addresses(cache, addresses, opened.directory.present)
    return entries


def _unknown_names(decider: Decider, request: Message) -> Message:
    """Tell which COS, domain or address of a flush the directory does not have."""
    active, deadline = decider.configurations.active, Deadline.after(_NAMES_SECONDS, time.monotonic)
    store, cos, domain = active.opened.store, _text(request, "cos"), _text(request, "domain")
    found = [
        unknown_cos(store, cos, deadline) if cos is not None else None,
        unknown_domain(store, active.config.ldap.search_base, domain, deadline) if domain is not None else None,
    ]
    if addresses := _texts(request, "addresses"):
        present = active.opened.directory.present(list(stored_addresses(addresses)))
        found += unknown_addresses(addresses, present)
    return {"unknown": [one._asdict() for one in found if one is not None]}


def _show(decider: Decider, request: Message) -> Message:
    address = _text(request, "address") or ""
    if parse_address(address) is None:
        message = f"{address!r} is not an address"
        raise RequestRefused(message)
    return {"answers": cache_view.held(decider.configurations.active.opened.cache, address, time.monotonic())}


def _trace(decider: Decider, request: Message) -> Message:
    text, most = _text(request, "address"), request.get("most")
    address = envelope_address(text) if text is not None else None
    if (text is not None and address is None) or not isinstance(most, int) or most < 1:
        message = f"{text!r} is no address" if text is not None and address is None else "most is no number"
        raise RequestRefused(message)
    reads_audit = request.get("reads_audit") is True
    return decider.recent.find(queue_id=_text(request, "queue_id"), address=address, most=most, reads_audit=reads_audit)


def _explain(decider: Decider, request: Message) -> Message:
    active, basis = decider.configurations.active, Basis()
    decision = active.explain(_envelope(request), Headers(fields=_fields(request)), basis)
    foreseen = decider.relayed_copies.foresee(decision, active.config.policy)
    return {"decision": explanation(foreseen, active.why_not(decision, basis))}


def _warm(decider: Decider, request: Message) -> Message:
    headers = None if request.get("fields") is None else Headers(fields=_fields(request))
    decider.warm(_envelope(request), headers)
    return {}


def _learn_what_waits(decider: Decider, request: Message) -> Message:
    decider.waiting.learn(request["elsewhere"], request["went_on"])
    return {}


def _probe(decider: Decider, request: Message) -> Message:
    """Ask the milter by its socket, for a client that may ask the daemon and not connect to that socket."""
    seconds = request.get("seconds")
    seconds = float(seconds) if isinstance(seconds, int | float) and 0 < seconds <= PROBE_SECONDS else PROBE_SECONDS
    fields = [(_octets(name), _octets(value)) for name, value in _fields(request)]
    address = decider.configurations.active.config.milter.socket
    return {"outcome": probe(address, _envelope(request), fields, _octets(_text(request, "body") or ""), seconds)}


def _octets(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise RequestRefused("a header or body is not octets") from None


def _envelope(request: Message) -> Envelope:
    port = request.get("daemon_port")
    return Envelope(
        login=_text(request, "login"),
        client=_text(request, "client"),
        sender=_text(request, "sender") or "",
        recipients=tuple(_texts(request, "recipients")),
        submitted_locally=request.get("submitted_locally") is True,
        daemon_port=port if isinstance(port, int) else None,
    )


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
