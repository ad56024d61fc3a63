"""``ldapmilter copies``: the copies that travel by the relay; what is waiting, and what is kept.

Reading needs the relay's state only; the relay may be down. What changes something is done by the relay itself.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldapmilter.cli import arguments, copies_text, exit_status, nagios
from ldapmilter.cli.asking import ask
from ldapmilter.cli.complaint import complain
from ldapmilter.cli.copies_watch import figures, silence, unrouted
from ldapmilter.config import load
from ldapmilter.delivery.token import TOKEN_RE
from ldapmilter.errors import ConfigError, DaemonUnreachable
from ldapmilter.plain import plain
from ldapmilter.relay.stored import StateError, StateReader
from ldapmilter.relay.summary import HIDDEN_AFTER, in_text, level_of, summary_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ldapmilter.cli.parser import Parser
    from ldapmilter.delivery.settings import RelaySettings
    from ldapmilter.relay.stored import KnownCopy

_NAGIOS = {
    "ok": (nagios.OK, "OK"),
    "warning": (nagios.WARNING, "WARNING"),
    "critical": (nagios.CRITICAL, "CRITICAL"),
}
_REQUEST_SECONDS = 310.0
"""For which one copy, or a file that is learnt, may take: the daemon waits for 300."""
_LEFT_BEHIND = "[relay] listen is empty: no relay hands on what is kept, or takes what Postfix has"
_PAUSE = 0.1
"""Seconds between two copies: at most 10 a second."""


def add_arguments(parser: Parser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument("tokens", metavar="TOKEN", nargs="*", type=_token, help="copies, by token")
    parser.add_argument(
        "--all", action="store_true", help="also those that have ended, and those that did not come yet"
    )
    parser.add_argument("--message-id", metavar="ID", type=_message_id, help="those of one message, ended ones too")
    parser.add_argument("--addresses", action="store_true", help="show where they go, and what the server said")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="for programs")
    output.add_argument("--nagios", action="store_true", help="one line and Nagios exit codes, for monitoring")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--resend", action="store_true", help="hand kept copies on now: those with a TOKEN, else all")
    action.add_argument("--discard", action="store_true", help="give copies up; needs TOKEN and --why")
    action.add_argument(
        "--learn", metavar="AUDITFILE", type=Path, help="take over what another host's audit says of copies"
    )
    parser.add_argument("--to", metavar="ADDRESS", type=arguments.address, help="--resend: to another address")
    parser.add_argument("--why", metavar="TEXT", help="--discard: the reason, for the audit")
    parser.set_defaults(parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    _must_fit(options)
    if options.resend or options.discard or options.learn is not None:
        return _change(options)
    if options.nagios:
        return _nagios(options)
    return _show(options)


def _must_fit(options: argparse.Namespace) -> None:
    """Refuse what does not belong together."""
    wrong = None
    if options.discard and not (options.tokens and (options.why or "").strip()):
        wrong = "--discard gives copies up for good: name each by its TOKEN, and say --why TEXT"
    elif options.to is not None and not options.resend:
        wrong = "--to is for --resend"
    elif options.why is not None and not options.discard:
        wrong = "--why is for --discard"
    elif options.learn is not None and options.tokens:
        wrong = "--learn takes a whole file, no TOKEN"
    elif options.nagios and (options.tokens or options.message_id or options.all or options.addresses):
        wrong = "--nagios tells of all copies, and of no address"
    elif (options.resend or options.discard or options.learn is not None) and (options.nagios or options.message_id):
        wrong = "--nagios and --message-id are for reading"
    if wrong is not None:
        options.parser.error(wrong)


def _token(text: str) -> str:
    # As Postfix's log and a report's Message-ID have it, too.
    local = text.strip().removeprefix("<").removesuffix(">").partition("@")[0]
    if not TOKEN_RE.match(local):
        import argparse  # noqa: PLC0415 - for its error alone

        message = f"{text!r} is no token: 48 hexadecimal digits, as ldapmilter copies shows them"
        raise argparse.ArgumentTypeError(message)
    return local


def _message_id(text: str) -> str:
    return text.strip().removeprefix("<").removesuffix(">").strip()


def _settings(file: str) -> RelaySettings:
    """Return the relay's settings.

    Raises:
        ConfigError: there is no relay.
    """
    relay = load(file).relay
    if relay.listen is None:
        raise _no_relay(file)
    return relay


def _settings_to_read(file: str) -> RelaySettings:
    """Return the settings where there is a relay, or copies that one has left behind.

    Raises:
        ConfigError: there is neither.
        StateError: it cannot be found out.
    """
    relay = load(file).relay
    if relay.listen is None:
        with _state(relay) as state:
            if state is None or not (state.count(state="waiting") or state.count(state="ended", fate="kept")):
                raise _no_relay(file)
    return relay


def _no_relay(file: str) -> ConfigError:
    return ConfigError(f"{file}: [relay] listen is empty: no copy travels by a relay here (docs/copies.md)")


# -- reading --------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> int:
    relay = _settings_to_read(options.config)
    now = time.time()
    with _state(relay) as state:
        copies = list(_chosen(state, options, now)) if state is not None else []
        summary = summary_of(state, now, relay.late_after) if state is not None else None
    named = bool(options.tokens or options.message_id)
    if options.json:
        print(json.dumps(copies_text.as_json(copies, summary, now, addresses=options.addresses), indent=1))
    else:
        for line in copies_text.lines(copies, now, addresses=options.addresses):
            print(plain(line))
        if not named:
            print(in_text(summary) if summary is not None else f"no copy has come yet ({relay.state} is not there)")
            if relay.listen is None:
                print(f"{_LEFT_BEHIND}: set it again and reload, to hand them on")
    if named:
        if not copies and not options.json:
            complain("no such copy is known to the relay; ldapmilter audit find tells of all there ever was")
        return exit_status.FINE if copies else exit_status.PROBLEM
    well = summary is None or level_of(summary, relay.late_after) == "ok"
    return exit_status.FINE if well else exit_status.PROBLEM


def _chosen(state: StateReader, options: argparse.Namespace, now: float) -> Iterator[KnownCopy]:
    """Yield the copies that are asked for, the oldest first."""
    if options.tokens:
        yield from (copy for token in options.tokens if (copy := state.copy(token)) is not None)
    elif options.message_id is not None:
        for spelt in (f"<{options.message_id}>", options.message_id):
            yield from state.copies(message_id=spelt)
    elif options.all:
        yield from (
            copy
            for copy in state.copies()
            if copy.state != "decided" or copy.decided_at is None or copy.decided_at >= now - HIDDEN_AFTER
        )
    else:
        open_ones = [*state.copies(state="waiting"), *state.copies(state="ended", fate="kept")]
        yield from sorted(open_ones, key=lambda copy: copy.since)


def _nagios(options: argparse.Namespace) -> int:
    """Print one line with performance data; return 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN."""
    try:
        relay = _settings_to_read(options.config)
        silent = silence(relay.listen) if relay.listen is not None else _LEFT_BEHIND
        with _state(relay) as state:
            summary = summary_of(state, time.time(), relay.late_after) if state is not None else None
    except (ConfigError, StateError) as error:
        code, line = nagios.unknown(error)
        print(line)
        return code
    code, word = _NAGIOS[level_of(summary, relay.late_after) if summary is not None else "ok"]
    text = in_text(summary) if summary is not None else "no copy has come yet"
    way = unrouted(relay, relay.listen) if relay.listen is not None else ("ok", None)
    for level, trouble in (("critical", silent), way):
        if trouble is not None:
            code, word = max(_NAGIOS[level], (code, word))
            text = f"{trouble}; {text}"
    print(nagios.line(word, text, figures(summary, relay.late_after) if summary is not None else ""))
    return code


# -- changing -------------------------------------------------------------------------------


def _change(options: argparse.Namespace) -> int:
    relay = _settings(options.config)
    if options.learn is not None:
        answer = _ask(options, {"action": "learn", "file": str(options.learn.absolute())})
        if not answer["lines"] and not options.json:
            text = f"{options.learn}: no line tells of copies: name the audit of a host with a copy relay"
            print(plain(text), file=sys.stderr)
        else:
            print(json.dumps(answer) if options.json else f"took over {answer['lines']} lines that tell of copies")
        return exit_status.FINE if answer["lines"] else exit_status.PROBLEM
    request: dict[str, Any] = {"action": "resend" if options.resend else "discard"}
    if options.to is not None:
        request["to"] = options.to
    if options.why is not None:
        request["why"] = options.why
    tokens = list(dict.fromkeys(options.tokens)) or _kept(relay)
    if not tokens:
        print("nothing is kept")
        return exit_status.FINE
    failed = False
    for number, token in enumerate(tokens):
        if number:
            time.sleep(_PAUSE)
        # One by one: each may take minutes, and what is done is shown meanwhile.
        for result in _ask(options, {**request, "tokens": [token]})["results"]:
            failed |= result["state"] == "unchanged"
            _tell(result, options)
    return exit_status.PROBLEM if failed else exit_status.FINE


def _ask(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """Return the relay's answer.

    Raises:
        DaemonUnreachable: the daemon does not answer, or the relay does not answer it.
        RequestRefused: the relay says no.
    """
    answer = ask(options.config, {"verb": "copies", **request}, takes=_REQUEST_SECONDS)
    if (why := answer.get("unreachable")) is not None:
        raise DaemonUnreachable(str(why))
    return answer


def _kept(relay: RelaySettings) -> list[str]:
    """Return the tokens of all kept copies, the oldest first.

    Raises:
        StateError: the state cannot be read.
    """
    with _state(relay) as state:
        return [copy.token for copy in state.copies(state="ended", fate="kept")] if state is not None else []


@contextlib.contextmanager
def _state(relay: RelaySettings) -> Iterator[StateReader | None]:
    """Yield the relay's state while it is read; ``None``: there is none yet.

    Raises:
        StateError: it cannot be read.
    """
    state = StateReader.open(relay.state)
    try:
        yield state
    finally:
        if state is not None:
            state.close()


def _tell(result: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(result if options.addresses else copies_text.without_addresses(result)))
    else:
        print(plain(copies_text.outcome(result, addresses=options.addresses)))
    sys.stdout.flush()
