"""What the parent answers on the control socket: status itself, the rest by its workers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ldapmilter.config_text import digest
from ldapmilter.daemon.asking import ask_all, ask_one
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.requests import PROBE_SECONDS
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.fleet import Fleet
    from ldapmilter.daemon.overview import Overview
    from ldapmilter.daemon.takeover import Takeover

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 10.0
_ASK_SECONDS = 5.0


async def answer(request: Message, fleet: Fleet, overview: Overview, takeover: Takeover) -> Message:
    """Return the answer to a request on the control socket.

    Raises:
        RequestRefused: there is no such verb, or no worker can answer.
    """
    config = overview.config
    # A verb compares it with the file, and says what a reload would change.
    running = {
        "file": str(config.file.absolute()),
        "digest": digest(config.text),
        "socket": str(config.milter.socket),
    }
    return {**await _answer(request, fleet, overview, takeover), "configuration": running}


async def _answer(request: Message, fleet: Fleet, overview: Overview, takeover: Takeover) -> Message:
    deadline = overview.config.ldap.lookup_deadline
    verbs: Mapping[str, Callable[[], Awaitable[Message]]] = {
        "status": lambda: _status(fleet, overview),
        "config": lambda: _configuration(overview),
        "try-reload": lambda: _try_reload(takeover),
        "flush": lambda: _flush(request, fleet),
        "show": lambda: _show(request, fleet),
        "trace": lambda: _trace(request, fleet, overview),
        "explain": lambda: ask_one(fleet.workers, request, deadline + _ASK_SECONDS),
        "probe": lambda: ask_one(fleet.workers, request, PROBE_SECONDS + _ASK_SECONDS),
    }
    serving = verbs.get(str(request.get("verb")))
    if serving is None:
        message = f"no such verb: {request.get('verb')!r}"
        raise RequestRefused(message)
    return await serving()


async def _status(fleet: Fleet, overview: Overview) -> Message:
    await ask_all(fleet.everyone, {"verb": "report"}, _ASK_SECONDS)
    return overview.status()


async def _configuration(overview: Overview) -> Message:
    return {"file": str(overview.config.file.absolute()), "text": overview.config.text}


async def _show(request: Message, fleet: Fleet) -> Message:
    answers, silent = await ask_all(fleet.everyone, request, _ASK_SECONDS)
    return {"workers": answers, "silent": [worker.pid for worker in silent]}


async def _trace(request: Message, fleet: Fleet, overview: Overview) -> Message:
    """Return the last messages of all workers that answer to a request, the oldest first."""
    answers, silent = await ask_all(fleet.everyone, request, _ASK_SECONDS)
    for answered in answers:
        if "error" in answered:
            raise RequestRefused(str(answered["error"]))
    messages = sorted((one for answered in answers for one in answered["messages"]), key=lambda one: one["at"])
    return {
        "messages": messages[-int(request["most"]) :],
        "since": max([*(answered["since"] for answered in answers), fleet.departed_at or 0.0]),
        "whole": fleet.departed_at is None and not any(answered["forgotten"] for answered in answers),
        "remembered": sum(answered["remembered"] for answered in answers),
        "trace_messages": overview.config.trace_messages,
        "switched_off": overview.config.policy.switched_off(),
        "reads_audit": request.get("reads_audit") is True,
        "silent": [worker.pid for worker in silent],
        "socket": str(overview.config.milter.socket),
    }


async def _try_reload(takeover: Takeover) -> Message:
    """Tell why a reload would be refused, if it would."""
    try:
        await takeover.try_out()
    except (LdapmilterError, OSError) as error:
        return {"refused": str(error)}
    return {"refused": None}


async def _flush(request: Message, fleet: Fleet) -> Message:
    answers, silent = await ask_all(fleet.everyone, request, _FLUSH_SECONDS)
    for answered in answers:
        if "error" in answered:
            raise RequestRefused(str(answered["error"]))
    entries = sum(answered["entries"] for answered in answers)
    # A worker that hangs is not waited for; its successor begins with an empty cache.
    for worker in silent:
        _log.error("worker %d has not confirmed a flush: killed", worker.pid)
        worker.kill()
    told = {"entries": entries, "workers": len(answers), "killed": [worker.pid for worker in silent]}
    return {**told, **await _unknown_names(request, fleet)}


async def _unknown_names(request: Message, fleet: Fleet) -> Message:
    """Tell which names of a flush the directory does not have: they are misspelt, or were removed."""
    if not any(request.get(name) for name in ("cos", "domain", "addresses")):
        return {"unknown": [], "not_asked": None}
    try:
        found = await ask_one(fleet.workers, {**request, "verb": "names"}, _ASK_SECONDS)
    except RequestRefused as error:
        found = {"error": str(error)}
    return {"unknown": found.get("unknown", []), "not_asked": found.get("error")}
