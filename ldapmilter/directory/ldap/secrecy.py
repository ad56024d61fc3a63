"""The proof that policy is secret: every way in which a user could find out who is copied, tried.

A value that may not be read can still betray itself: by a filter that matches it, by a negated filter
that does not, by a Compare that says "false" instead of "no access". What may be searched and is absent
answers to the negation of a filter; what is hidden answers to neither (RFC 4511 section 4.5.1.7,
slapd.access(5)).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import Equal, Not, Or, Present
from ldapmilter.directory.backend.names import POLICY_CLASS
from ldapmilter.directory.ldap.readability import LOOKED_AT, value_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.ldap.connection import Connection

_TURNED_AWAY = frozenset({1, 8, 13, 17, 32, 48, 50, 53, 123})
"""Result codes that tell nothing: not bound well enough, no such attribute type, hidden, not allowed."""
_NO_ATTRIBUTES = ("1.1",)


def policy_marks(attributes: Collection[str], *, own_class: bool) -> tuple[Equal | Present, ...]:
    """Return the filters, each of which finds entries with policy.

    Args:
        attributes: the attributes that hold policy.
        own_class: whether our object class marks entries with policy, too.
    """
    by_class = (Equal("objectClass", POLICY_CLASS),) if own_class else ()
    return (*by_class, *(Present(attribute) for attribute in attributes))


def ways_to_see_policy(
    connection: Connection,
    attributes: Collection[str],
    dns: Collection[str],
    *,
    own_class: bool,
    as_dn: str | None = None,
) -> Iterator[str]:
    """Yield, in words, every way in which a user can see policy; nothing: it is secret.

    Args:
        connection: of whoever should see nothing.
        attributes: the attributes that hold policy.
        dns: entries to try it on: of every kind, with and without policy.
        own_class: whether our object class has to be hidden as a value of ``objectClass``, too.
        as_dn: who that is by proxied authorization (RFC 4370), ``""`` for anonymous; ``None``: the bound identity.

    Raises:
        Refused: by the server; what was yielded before stands.
        ServerFailed: no answer.
    """
    search, compare = partial(connection.search, as_dn=as_dn), partial(connection.compare, as_dn=as_dn)
    names = (*attributes, *(("objectClass",) if own_class else ()))
    marks = policy_marks(attributes, own_class=own_class)
    for dn in dns:
        for name in names:
            code = compare(dn, name, value_for(name))
            if code in LOOKED_AT:
                yield f"may compare {name} of {dn}"
            elif code not in _TURNED_AWAY:
                yield f"was not turned away in a Compare of {name} of {dn} (LDAP result {code})"
    for dn in dns:
        entries = search(dn, "base", Present("objectClass"), ("*", "+", *attributes))
        yield from (
            f"reads {shown} of {dn}"
            for entry in entries
            if (shown := _policy_in(entry, attributes, own_class=own_class))
        )
        for mark in marks:
            if search(dn, "base", mark, _NO_ATTRIBUTES):
                yield f"finds {dn} by a filter on {mark.attribute}"
            if search(dn, "base", Not(mark), _NO_ATTRIBUTES):
                yield f"finds {dn} by a negated filter on {mark.attribute}"
    if search("", "sub", Or(marks), _NO_ATTRIBUTES, most=1):
        yield "finds entries with policy by a search of the whole directory"


def _policy_in(entry: RawEntry, attributes: Collection[str], *, own_class: bool) -> str:
    names = {name.partition(";")[0] for name in entry.attributes}
    shown = [attribute for attribute in attributes if attribute.lower() in names]
    if own_class and POLICY_CLASS.lower() in entry.classes:
        shown.append(f"the objectClass {POLICY_CLASS}")
    return ", ".join(shown)
