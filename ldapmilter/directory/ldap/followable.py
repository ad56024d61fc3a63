"""Whether a server lets its changes be followed: change numbers may be read, and are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import Ordered
from ldapmilter.directory.backend.names import GLOBAL_CONFIG_DN
from ldapmilter.directory.following.change_number import CHANGE_NUMBER, ENTRY_NAME, number_at
from ldapmilter.directory.ldap.exchange import Question
from ldapmilter.directory.ldap.indexed import indexed_attributes
from ldapmilter.directory.ldap.readability import ALWAYS_THERE, LOOKED_AT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.directory.ldap.connection import Connection

SECONDS = 10.0
"""For one answer."""
_TRIED = {CHANGE_NUMBER: number_at(0), ENTRY_NAME: "00000000-0000-0000-0000-000000000000"}
"""What to compare with: by another syntax a server might not look at the attribute."""
_NEVER = 4_000_000_000.0
"""Seconds since the epoch in a year in which nothing was changed: 2096. slapd's index does not hold years past 4095."""
_SLOW = 0.1
"""Seconds for a search that finds nothing, and needs no more than an index."""
_MUCH_SLOWER = 10.0
"""How many times as long as a compare, which needs none, a search without its index takes."""
_TRIES = 3


def hidden(server: Connection) -> list[str]:
    """Return the attributes that have to be read to follow changes, and may not be.

    Raises:
        ServerFailed: no answer.
    """
    return [
        name
        for name, value in _TRIED.items()
        if any(server.compare(dn, name, value) not in LOOKED_AT for dn in ALWAYS_THERE.values())
    ]


def since(number: str) -> Question:
    """Return the search for what has a change number or a greater one."""
    return Question(base="", scope="sub", search_filter=Ordered(CHANGE_NUMBER, number), attributes=(ENTRY_NAME,))


def is_unindexed(server: Connection, clock: Callable[[], float]) -> bool:
    """Whether change numbers have no index: as ``cn=config`` says, else as long as a search by them takes.

    In a small directory it may not show, and does not matter.

    Raises:
        Refused: by the server.
        ServerFailed: no answer.
    """
    known = indexed_attributes(server)
    if known is not None:
        return CHANGE_NUMBER.lower() not in known
    searches, compares = [], []
    for _ in range(_TRIES):
        began = clock()
        server.ask(since(number_at(_NEVER)), SECONDS, most=1)
        searched = clock()
        server.compare(GLOBAL_CONFIG_DN, "objectClass", "zimbraGlobalConfig")
        searches.append(searched - began)
        compares.append(clock() - searched)
    return min(searches) > max(_SLOW, _MUCH_SLOWER * min(compares))
