"""Whether a server keeps its promises: the milter reads, users see nothing, administrators everything.

Access is told by Compare first, which works without any policy in the directory: an attribute that may
be read answers 5, 6 or 16, a hidden one 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.backend.filters import And, Equal, Not, Or, Present
from ldapmilter.directory.backend.names import POLICY_CLASS
from ldapmilter.directory.ldap.readability import ALWAYS_THERE, LOOKED_AT, unreadable, value_for
from ldapmilter.directory.ldap.secrecy import policy_marks, ways_to_see_policy
from ldapmilter.schema.rights import ADMINS

if TYPE_CHECKING:
    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.schema.rights import Rights

ANONYMOUS = ""
ADMIN = f"uid=zimbra,{ADMINS}"
_CARRIERS = 3
"""Entries with policy to try it on."""
_SOMEBODY = "uid=ldapmilter-nobody,ou=people,dc=invalid"
"""Where there is no account yet: any DN is an authenticated user to slapd."""
_SAMPLES: dict[str, Filter] = {
    "domain": Equal("objectClass", "zimbraDomain"),
    "account": Present("zimbraMailDeliveryAddress"),
}
_ENTRY = "entry"
_USERS = And(
    (
        Equal("objectClass", "zimbraAccount"),
        Present("zimbraMailDeliveryAddress"),
        Not(Equal("zimbraIsAdminAccount", "TRUE")),
    )
)
CARRIES_CLASS = Equal("objectClass", POLICY_CLASS)
"""Finds every entry with policy in attributes of ours: none of them stands without the class."""


class Trial(Struct, frozen=True, kw_only=True):
    """One thing that was tried."""

    what: str
    problem: str | None = None
    """What is wrong, ``None`` when it is as it should be."""


class Samples(Struct, frozen=True, kw_only=True):
    """Entries to try it on."""

    by_kind: dict[str, str]
    """Kind to DN: a COS, the global config, and a domain and an account where there is one."""
    user: str
    """DN of an ordinary mail user."""
    carriers: tuple[str, ...]
    """DNs of a few entries that carry policy."""


def find_samples(root: Connection, rights: Rights) -> Samples:
    """Choose entries to try it on."""
    by_kind = dict(ALWAYS_THERE)
    for kind, search_filter in _SAMPLES.items():
        for entry in root.search("", "sub", search_filter, ("objectClass",), most=1):
            by_kind[kind] = entry.dn
    users = root.search("", "sub", _USERS, ("objectClass",), most=1)
    marks = policy_marks(rights.foreign, own_class=bool(rights.own))
    carriers = root.search("", "sub", Or(marks), ("objectClass",), most=_CARRIERS)
    return Samples(
        by_kind=by_kind,
        user=users[0].dn if users else _SOMEBODY,
        carriers=tuple(entry.dn for entry in carriers),
    )


def reads(milter: Connection, samples: Samples, rights: Rights) -> Trial:
    """Try as the milter whether everything that policy needs may be read."""
    attributes = tuple(name for name in rights.opened if name.lower() not in {_ENTRY, "objectclass"})
    problems = unreadable(
        samples.by_kind, attributes, lambda dn, attribute: milter.compare(dn, attribute, value_for(attribute))
    )
    return Trial(
        what=f"{rights.identity} reads what policy needs on {_kinds(samples)}", problem="; ".join(problems) or None
    )


def blind(root: Connection, who: str, as_dn: str, samples: Samples, rights: Rights) -> Trial:
    """Try with one identity whether any policy can be seen."""
    dns = tuple(dict.fromkeys((*samples.by_kind.values(), *samples.carriers)))
    ways = ways_to_see_policy(root, rights.hidden, dns, own_class=bool(rights.own), as_dn=as_dn)
    return Trial(what=f"{who} sees no policy", problem=_few(list(ways)))


def administers(root: Connection, samples: Samples, rights: Rights) -> Trial:
    """Try as an administrator whether policy can still be seen."""
    names = (*rights.hidden, *(("objectClass",) if rights.own else ()))
    problems = [
        f"may not read {name} of {dn}"
        for dn in samples.by_kind.values()
        for name in names
        if root.compare(dn, name, value_for(name), as_dn=ADMIN) not in LOOKED_AT
    ]
    return Trial(what=f"{ADMIN} sees policy", problem=_few(problems))


def outsiders(samples: Samples) -> tuple[tuple[str, str], ...]:
    """Return who may see nothing: in words, and as a DN."""
    return (("an anonymous client", ANONYMOUS), (f"a mail user ({samples.user})", samples.user))


def _kinds(samples: Samples) -> str:
    return ", ".join(samples.by_kind)


def _few(problems: list[str]) -> str | None:
    if not problems:
        return None
    more = len(problems) - 3
    return "; ".join(problems[:3]) + (f"; and {more} more" if more > 0 else "")
