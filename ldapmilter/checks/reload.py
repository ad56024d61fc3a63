"""Whether a reload would take the configuration file over: tried by the running daemon, which changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.milter_socket import UNREACHABLE
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.control_client import ask
from ldapmilter.errors import DaemonUnreachable
from ldapmilter.service import command

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config

_AREA = Area.CONFIGURATION

REFUSED = Kind(
    code="config-reload-refused",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The running daemon would refuse the file at a reload, and go on with the configuration that it has"
    " (`--config-only`).",
    remedy="do what the text says before the reload",
)
KINDS = (REFUSED,)

_SECONDS = 60.0
"""For which the daemon may read files, beside the directory."""


def check(config: Config, report: Report) -> None:
    """Have the running daemon try the file, if it is the file that it runs with.

    Args:
        config: what is in the file.
        report: what to add to.
    """
    if config.control is None:
        report.daemon_reached = True
        report.fine(_AREA, "[control] socket is empty: what a running daemon would refuse cannot be asked")
        return
    try:
        takes = _SECONDS + config.ldap.lookup_deadline
        answer = ask(str(config.control), {"verb": "try-reload"}, takes)
    except (DaemonUnreachable, RequestRefused) as error:
        text = f"what a running daemon would refuse is not known: {error}"
        report.add(UNREACHABLE.found(text, start=command("start")))
        return
    report.daemon_reached = True
    running = answer["configuration"]["file"]
    if running != str(config.file.absolute()):
        report.fine(_AREA, f"the running daemon has {running} in force: it was not asked about {config.file}")
    elif answer["refused"] is not None:
        report.add(REFUSED.found(answer["refused"]))
    else:
        report.fine(_AREA, f"{config.file}: a reload would take it over")
