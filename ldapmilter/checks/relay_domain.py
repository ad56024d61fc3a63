"""Whether the copy relay's domain is nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config
    from ldapmilter.directory.interface import Directory

HOSTED = Kind(
    code="relay-domain-hosted",
    severity=Severity.PROBLEM,
    area=Area.CONFIGURATION,
    meaning="The directory hosts the copy relay's domain: mail to its users waits, since the relay takes copies alone.",
    remedy="set [relay] domain to a domain that is nobody's, such as copies.invalid; scripts/register --relay $listen"
    " --relay-domain with it comes first",
)
KINDS = (HOSTED,)


def check(directory: Directory, config: Config, report: Report) -> None:
    """Look the domain up, where there is a relay.

    Raises:
        DirectoryUnavailable: no answer.
    """
    relay = config.relay
    if relay.listen is not None and directory.hosts(relay.domain):
        report.add(HOSTED.found(f"[relay] domain = {relay.domain} is a domain of the directory", listen=relay.listen))
