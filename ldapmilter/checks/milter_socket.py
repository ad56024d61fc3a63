"""The milter's socket: whether the daemon answers there, is ours, and lets Postfix in."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.checks import daemon_status
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.control_client import ask
from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.wire import Action, Protocol, Stage
from ldapmilter.service import command

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config
    from ldapmilter.mta.wire import Negotiated
    from ldapmilter.socket_address import SocketAddress

_AREA = Area.MILTER_SOCKET

UNREACHABLE = Kind(
    code="socket-unreachable",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="The daemon does not answer: Postfix handles all mail as `milter_default_action` says.",
    remedy="start the daemon ($start) and read what it logs; where something else listens there, give it a socket of"
    " its own ([milter] socket)",
)
WRONG_MILTER = Kind(
    code="socket-wrong-milter",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="What answers at the socket does not ask for what ldapmilter needs: it is another milter, or an old"
    " version.",
    remedy="give ldapmilter a socket of its own ([milter] socket), restart it, and look who else listens there",
)
POSTFIX_DENIED = Kind(
    code="socket-postfix-denied",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="Postfix's user may not connect to the unix socket, although root may.",
    remedy="set [milter] socket_group to a group of the user $user, socket_mode = 0660, and let it into the directory",
)

TROUBLED = Kind(
    code="socket-daemon-troubled",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="The daemon cannot serve as it should: its socket's path is gone, or it is short of file descriptors or"
    " connections.",
    remedy="do what the text says; ldapmilter status shows when it is over",
)

KINDS = (UNREACHABLE, WRONG_MILTER, POSTFIX_DENIED, TROUBLED)

NEEDED_ACTIONS = Action.ADDRCPT | Action.ADDRCPT_PAR | Action.DELRCPT | Action.CHGHDRS | Action.ADDHDRS
"""What the session asks an MTA for; that module stands on libmilter, which no check loads."""
_STEPS = {
    "MAIL": Protocol.NOMAIL,
    "RCPT": Protocol.NORCPT,
    "DATA": Protocol.NODATA | Protocol.NR_DATA,
    "the header": Protocol.NOHDRS,
}
"""What has to be sent (and, for DATA, answered), by the bits that would prevent it."""
_CLIENT = "{client_addr}"
_USERS = ("postfix",)


def check(address: SocketAddress, report: Report, *, timeout: float = 5.0) -> None:
    """Open a milter session as Postfix would, negotiate, and leave.

    Args:
        address: where the daemon listens.
        report: what to add to.
        timeout: seconds to connect and negotiate.
    """
    try:
        with MilterClient.connect(address, timeout=timeout) as client:
            negotiated = client.negotiated
    except DaemonUnreachable as error:
        report.add(UNREACHABLE.found(str(error), start=command("start")))
        report.not_looked_for |= {WRONG_MILTER.code, POSTFIX_DENIED.code}
        return
    report.daemon_reached = True
    wrong = _missing(negotiated)
    if wrong:
        report.add(WRONG_MILTER.found(f"{address}: {'; '.join(wrong)}"))
    else:
        report.fine(_AREA, f"{address}: answers, and asks for the envelope, the header and the right to add recipients")
    if address.kind == "unix":
        _for_postfix(Path(address.path), report)


def check_daemon(config: Config, report: Report) -> None:
    """Ask the daemon what is wrong with itself, where this user may ask."""
    try:
        status = ask(str(config.control), {"verb": "status"}) if config.control is not None else None
    except (DaemonUnreachable, RequestRefused):
        status = None
    if status is None:
        report.not_looked_for.update(kind.code for kind in (TROUBLED, *daemon_status.KINDS))
        return
    for text in status.get("own_problems", ()):
        report.add(TROUBLED.found(text))
    daemon_status.check(status, report)


def _missing(negotiated: Negotiated) -> list[str]:
    actions = [action.name or "" for action in Action if action & NEEDED_ACTIONS and not action & negotiated.actions]
    steps = [step for step, bits in _STEPS.items() if negotiated.protocol & bits]
    wrong = []
    if actions:
        wrong.append(f"does not ask for {', '.join(actions)}")
    if steps:
        wrong.append(f"does not want to see or answer {', '.join(steps)}")
    # The event says who connects, and so does a macro that was asked for.
    if negotiated.protocol & Protocol.NOCONNECT and _CLIENT not in negotiated.symbols.get(Stage.CONNECT, ()):
        wrong.append(f"wants to know the client neither by CONNECT nor by the macro {_CLIENT}")
    return wrong


def _for_postfix(path: Path, report: Report) -> None:
    """Whether Postfix's user gets through the directories to the socket (path_resolution(7), unix(7))."""
    user = _postfix_user()
    if user is None:
        return
    name, uid, groups = user
    for place in (*reversed(path.parents), path):
        status = place.stat()
        wanted = stat.S_IWOTH if place == path else stat.S_IXOTH
        shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
        if not status.st_mode & (wanted << shift):
            kind = "write to" if place == path else "enter"
            text = f"{place} (mode {stat.S_IMODE(status.st_mode):04o}): the user {name} may not {kind} it"
            report.add(POSTFIX_DENIED.found(text, user=name))
            return


def _postfix_user() -> tuple[str, int, frozenset[int]] | None:
    for name in _USERS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return name, account.pw_uid, frozenset(os.getgrouplist(name, account.pw_gid))
    return None
