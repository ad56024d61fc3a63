"""Whether a server keeps its promises: the milter reads, users see nothing, administrators everything.

Access is told by Compare, which works without any policy in the directory: an attribute that may be
read answers 5, 6 or 16, a hidden one 50. What may not be compared may not be searched or read either
(slapd.access(5): levels include each other); filters and reads are tried all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.directory.readability import ALWAYS_THERE, unreadable, value_for
from ldapmilter.directory.site import POLICY_CLASS
from ldapmilter.schema.rights import ADMINS

if TYPE_CHECKING:
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.schema.rights import Rights
    from ldapmilter.schema.server import Server

_HIDDEN = frozenset({32, 50})
_LOOKED_AT = frozenset({5, 6, 16, 18, 21})
ANONYMOUS = ""
ADMIN = f"uid=zimbra,{ADMINS}"
_SOMEBODY = "uid=ldapmilter-nobody,ou=people,dc=invalid"
"""Where there is no account yet: any DN is an authenticated user to slapd."""
_SAMPLES = {"domain": "(objectClass=zimbraDomain)", "account": "(zimbraMailDeliveryAddress=*)"}
_ENTRY = "entry"
CARRIES_CLASS = f"(objectClass={POLICY_CLASS})"
"""Finds every entry with policy in attributes of ours: none of them stands without the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried."""

    what: str
    problem: str | None = None
    """What is wrong, ``None`` when it is as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Entries to try it on."""

    by_kind: dict[str, str]
    """Kind to DN: a COS, the global config, and a domain and an account where there is one."""
    user: str
    """DN of an ordinary mail user."""
    carriers: tuple[str, ...]
    """DNs of a few entries that carry policy."""


def find_samples(root: Server, rights: Rights) -> Samples:
    """Choose entries to try it on."""
    by_kind = dict(ALWAYS_THERE)
    for kind, search_filter in _SAMPLES.items():
        for entry in root.search("", "sub", search_filter, ("objectClass",), limit=1):
            by_kind[kind] = entry.dn
    users = root.search(
        "",
        "sub",
        "(&(objectClass=zimbraAccount)(zimbraMailDeliveryAddress=*)(!(zimbraIsAdminAccount=TRUE)))",
        ("objectClass",),
        limit=1,
    )
    carriers = root.search("", "sub", carries_policy(rights), ("objectClass",), limit=3)
    return Samples(
        by_kind=by_kind,
        user=users[0].dn if users else _SOMEBODY,
        carriers=tuple(entry.dn for entry in carriers),
    )


def carries_policy(rights: Rights) -> str:
    """Return the filter that finds entries with policy."""
    parts = [f"({name}=*)" for name in rights.foreign]
    parts += [CARRIES_CLASS] if rights.own else []
    return f"(|{''.join(parts)})"


def reads(milter: Server, samples: Samples, rights: Rights) -> Finding:
    """Try as the milter whether everything that policy needs may be read."""
    attributes = tuple(name for name in rights.opened if name.lower() not in {_ENTRY, "objectclass"})
    problems = unreadable(
        samples.by_kind, attributes, lambda dn, attribute: milter.compare(dn, attribute, value_for(attribute))
    )
    return Finding(
        what=f"{rights.identity} reads what policy needs on {_kinds(samples)}", problem="; ".join(problems) or None
    )


def blind(root: Server, who: str, as_dn: str, samples: Samples, rights: Rights) -> Finding:
    """Try as somebody whether any policy can be seen: Compare, reads, filters, negated filters."""
    problems: list[str] = []
    classes = (f"objectClass={POLICY_CLASS}",) if rights.own else ()
    for dn in dict.fromkeys((*samples.by_kind.values(), *samples.carriers)):
        seen = [
            name
            for name in (*rights.hidden, *(("objectClass",) if rights.own else ()))
            if root.compare(dn, name, value_for(name), as_dn=as_dn) not in _HIDDEN
        ]
        problems += [f"may compare {name} of {dn}" for name in seen]
        found = root.search(dn, "base", "(objectClass=*)", ("*", "+", *rights.hidden), as_dn=as_dn)
        problems += [f"reads {name} of {dn}" for entry in found for name in _shown(entry, rights)]
        # What may be searched and is absent answers to the negation; what is hidden answers to neither.
        for test in (*(f"{name}=*" for name in rights.hidden), *classes):
            for search_filter in (f"({test})", f"(!({test}))"):
                if root.search(dn, "base", search_filter, ("1.1",), as_dn=as_dn):
                    problems.append(f"finds {dn} by {search_filter}")
    if root.search("", "sub", carries_policy(rights), ("1.1",), as_dn=as_dn, limit=1):
        problems.append(f"finds entries by {carries_policy(rights)}")
    return Finding(what=f"{who} sees no policy", problem=_few(problems))


def administers(root: Server, samples: Samples, rights: Rights) -> Finding:
    """Try as an administrator whether policy can still be seen."""
    names = (*rights.hidden, *(("objectClass",) if rights.own else ()))
    problems = [
        f"may not read {name} of {dn}"
        for dn in samples.by_kind.values()
        for name in names
        if root.compare(dn, name, value_for(name), as_dn=ADMIN) not in _LOOKED_AT
    ]
    return Finding(what=f"{ADMIN} sees policy", problem=_few(problems))


def outsiders(samples: Samples) -> tuple[tuple[str, str], ...]:
    """Return who may see nothing: in words, and as a DN."""
    return (("nobody (anonymous)", ANONYMOUS), (f"a mail user ({samples.user})", samples.user))


def _shown(entry: RawEntry, rights: Rights) -> list[str]:
    hidden = {name.lower() for name in rights.hidden}
    seen = [name for name in entry.attributes if name.partition(";")[0] in hidden]
    if rights.own and POLICY_CLASS.lower() in {name.lower() for name in entry.all("objectclass")}:
        seen.append(f"objectClass={POLICY_CLASS}")
    return seen


def _kinds(samples: Samples) -> str:
    return ", ".join(samples.by_kind)


def _few(problems: list[str]) -> str | None:
    if not problems:
        return None
    more = len(problems) - 3
    return "; ".join(problems[:3]) + (f"; and {more} more" if more > 0 else "")
