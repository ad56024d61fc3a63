"""A question that is answered only where all of some attributes may be searched for (RFC 4528).

A filter on an attribute that may not be searched for is neither true nor false (RFC 4511 section 4.5.1.7), so
"set, or not set" is true of every entry where it may. One Compare with that as its assertion stands for
one Compare for each attribute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import And, Equal, Not, Or, Present
from ldapmilter.directory.backend.names import POLICY_CLASS
from ldapmilter.directory.ldap.request import filter_octets

if TYPE_CHECKING:
    from ldapmilter.directory.backend.filters import Filter

ASSERTION_CONTROL = "1.3.6.1.1.12"
"""RFC 4528 section 3."""
ENTRY = "entry"
"""slapd's name for the right to see that there is an entry (slapd.access(5))."""


def set_or_not(attributes: tuple[str, ...]) -> Filter:
    """Return the filter that is true of an entry that is seen, and that may be searched by all of the attributes.

    Of ``objectClass`` it is the value of ours that counts, which is hidden alone.
    """
    parts = (
        Equal(attribute, POLICY_CLASS) if attribute.lower() == "objectclass" else Present(attribute)
        for attribute in (ENTRY, *attributes)
    )
    return And(tuple(Or((part, Not(part))) for part in parts))


@lru_cache(maxsize=64)
def assertion(attributes: tuple[str, ...]) -> bytes:
    """Return :func:`set_or_not` as the value of the control (RFC 4511 section 4.5.1: Filter)."""
    return filter_octets(set_or_not(attributes))
