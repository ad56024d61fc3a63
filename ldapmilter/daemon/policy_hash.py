"""A hash of what a configuration decides by, to see whether several MTAs decide alike."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from ldapmilter.config_options import OTHER_COPY_CLASS, SECTIONS
from ldapmilter.config_text import sections

if TYPE_CHECKING:
    from ldapmilter.config import Config

_DECIDES = frozenset({"identity", "groups", "policy", "from", "lists"})
_COPY = "copy "
_OF_THE_HOST = frozenset({("identity", "own_relays"), ("identity", "reinjection_ports")})
"""What differs between MTAs that decide alike: the others, and the ports of its own Postfix."""
_DIGITS = 16


def policy_hash(config: Config) -> str:
    """Return 16 hexadecimal digits: the same where the same options decide, whatever is written out or left to default.

    Blanks and the order of sections do not count; nor do the sections of sockets, servers, cache, audit and metrics.
    """
    given = sections(config.text, config.file)
    tables = {**SECTIONS, **{name: OTHER_COPY_CLASS for name in given if name not in SECTIONS}}
    lines = [
        f"[{section}] {name} = {' '.join(given.get(section, {}).get(name, option.default or '').split())}"
        for section, table in sorted(tables.items())
        if section in _DECIDES or section.startswith(_COPY)
        for name, option in sorted(table.items())
        if (section, name) not in _OF_THE_HOST
    ]
    return sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]
