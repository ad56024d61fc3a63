"""Asking the running daemon with no more of ``config.ini`` than its control socket.

A mistake elsewhere in the file prevents no request: it is told beside the answer. A file that is
the one that the daemon runs with is not looked at any further.
"""

from __future__ import annotations

import os

from ldapmilter import config_text
from ldapmilter.cli.complaint import complain
from ldapmilter.daemon import control_client
from ldapmilter.errors import ConfigError, DaemonUnreachable, SecretForbidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ldapmilter.daemon.channel import Message

LOOKUP_SECONDS = 300.0
"""The longest ``[ldap] lookup_deadline``: what a decision may take."""


class FileState:
    """The file that a reload would read, beside the configuration that the daemon runs with.

    Attributes:
        state: ``in force``, ``changed`` (a reload would take it over), ``invalid`` or ``unknown``.
        problem: why a reload would refuse it.
        digest: what tells its text from others.
    """

    def __init__(self, state: str, problem: str | None = None, digest: str | None = None) -> None:
        self.state = state
        self.problem = problem
        self.digest = digest


def ask(file: str, request: Message, takes: float = 0.0) -> Message:
    """Return the daemon's answer; tell on stderr what is wrong in its configuration file.

    Raises:
        ConfigError: the file cannot be read, or names no control socket.
        DaemonUnreachable: the daemon does not answer.
        RequestRefused: the daemon says no.
    """
    answer, found = ask_and_compare(file, request, takes)
    if found.problem is not None:
        complain(f"{found.problem} (the daemon goes on with the configuration that it has)")
    return answer


def ask_and_compare(file: str, request: Message, takes: float = 0.0) -> tuple[Message, FileState]:
    """Return the daemon's answer, and how its configuration file compares with what it runs with.

    Raises:
        ConfigError: the file cannot be read, or names no control socket.
        DaemonUnreachable: the daemon does not answer.
        RequestRefused: the daemon says no.
    """
    text, no_text = config_text.read_anyhow(file)
    try:
        answer = control_client.ask(_control_socket(text, file), request, takes)
    except DaemonUnreachable:
        try:
            config_text.sections(text, file)
        except ConfigError as error:
            no_text = no_text or str(error)
        if no_text is not None:
            complain(no_text)  # perhaps another socket is meant; what else is wrong, check tells
        raise
    running = answer.pop("configuration", None)
    if running is None:
        return answer, FileState("unknown")  # a daemon of an older version
    try:
        return answer, _compare(text, no_text, file, running)
    except ConfigError as error:
        return answer, FileState("invalid", str(error))


def _compare(text: str, no_text: str | None, file: str, running: Message) -> FileState:
    if running["file"] != os.path.abspath(file):  # noqa: PTH100 - pathlib takes a verb longer than its answer
        file = running["file"]
        text, no_text = config_text.read_anyhow(file)
    digest = config_text.digest(text)
    if digest == running["digest"]:
        return FileState("in force", digest=digest)
    problem = no_text or _problem(text, file, running.get("socket"))
    return FileState("changed" if problem is None else "invalid", problem, digest)


def _control_socket(text: str, file: str) -> str:
    value = config_text.control_socket(text)
    try:
        path = config_text.unix_path(value)
    except ValueError as error:
        msg = f"{file}: [control] socket = {value}: allowed is {error}"
        raise ConfigError(msg) from error
    if not path:
        msg = f"{file}: [control] socket is empty: the daemon cannot be asked"
        raise ConfigError(msg)
    return path


def _problem(text: str, file: str, socket: str | None) -> str | None:
    """Return why a reload would refuse a configuration, as far as this user can see.

    Args:
        text: the file's.
        file: its name.
        socket: the running daemon's; ``None``: it does not say.
    """
    # Every option, for a changed file only.
    from pathlib import Path  # noqa: PLC0415

    from ldapmilter.config import bind_password, parse  # noqa: PLC0415

    try:
        config = parse(text, Path(file))
        if socket is not None and (wanted := str(config.milter.socket)) != socket:
            return config_text.other_socket(file, wanted, socket)
        bind_password(config)
    except SecretForbidden:
        return None  # the daemon may be able to
    except ConfigError as error:
        return str(error)
    return None
