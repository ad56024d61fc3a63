"""What slapd itself logged about the searches it was asked.

The product's claim is about the number of searches, so the server counts, not the client.
Searches on connections bound as the harness's own identity are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# slapd cuts a log line at 4 KiB and then loses the newline: hence no anchors at line ends,
# and a filter ends at its quote or where the next line's time stamp begins.
_STAMP: Final = r"[0-9a-f]{8}\.[0-9a-f]{8} 0x[0-9a-f]+ "
_EVENT: Final = re.compile(
    _STAMP + r"(?:(?P<start>slapd starting)|conn=(?P<conn>\d+) (?:fd=\d+ (?P<accept>ACCEPT)|op=\d+ (?:"
    r'BIND dn="(?P<dn>(?:[^"\\]|\\.)*)" (?:method|mech)'
    r'|SRCH base="(?P<base>(?:[^"\\]|\\.)*)" scope=(?P<scope>\d) deref=\d '
    rf'filter="(?P<filter>.*?)(?:"\n|(?={_STAMP})|\Z))))',
    re.DOTALL,
)


@dataclass(frozen=True)
class Search:
    """One search as slapd logged it; `bind_dn` is empty for an anonymous one."""

    bind_dn: str
    base: str
    scope: int
    filter: str


def parse_searches(log: str, harness_dn: str) -> list[Search]:
    """Return the searches of a log, in order, but for those bound as `harness_dn`."""
    bound: dict[str, str] = {}
    found: list[Search] = []
    for event in _EVENT.finditer(log):
        if event["start"]:
            bound.clear()
        elif event["accept"]:
            bound.setdefault(event["conn"], "")
        elif event["dn"] is not None:
            bound[event["conn"]] = event["dn"]
        elif event["filter"] is not None:
            dn = bound.get(event["conn"], "")
            if dn.lower() != harness_dn.lower():
                search = Search(dn, event["base"], int(event["scope"]), event["filter"])
                found.append(search)
    return found
