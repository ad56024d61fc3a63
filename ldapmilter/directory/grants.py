"""Send rights (``zimbraACE``): who may write as an entry, by what stands on it and on what it inherits from.

As Zimbra looks for them (``CheckPresetRight``): on the entry, on the lists it is in (all of them taken together), on
its domain, on the global grant entry. The nearest that has anything to say to the user decides. There, what is said to
the user goes before what is said to groups, and that before the user's domain, all users, and the public; and what
denies before what grants.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ldapmilter.address import fold_domain, folded_address
from ldapmilter.directory.backend.dn import fold_dn
from ldapmilter.directory.backend.names import SEND_RIGHTS
from ldapmilter.directory.entries import id_of
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.folding import fold_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.expansions import Expansions
    from ldapmilter.directory.model import Entry, Expansion, Kind
    from ldapmilter.directory.view import View

_RIGHTS: dict[Kind, tuple[str, ...]] = {
    "account": tuple(right.lower() for right in SEND_RIGHTS),
    "group": tuple(f"{right.lower()}distlist" for right in SEND_RIGHTS),
}
_ALL_RIGHTS = frozenset(right for rights in _RIGHTS.values() for right in rights)
_DENY, _SUBDOMAINS_ONLY, _DIRECT_ONLY = "-", "*", "^"
_MODIFIERS = "-+*^"
_GROUP = "grp"
_STEPS: tuple[tuple[str, ...], ...] = (("usr", "email", "edom"), (_GROUP,), ("dom",), ("all",), ("pub",))
"""Kinds of grantees, the nearest to the user first."""
_EVERYBODY = frozenset({"all", "pub"})
_MOST_ENTRIES: Final = 256
"""Entries whose values are parsed once for many messages: one may have tens of thousands."""


class Grant(Struct, frozen=True):
    """One send right on an entry (``zimbraACE``)."""

    grantee: str
    """zimbraId of a user, group or domain, in lower case; an address or a domain; a constant for everybody."""
    kind: str
    """``usr``, ``grp``, ``dom``, ``all``, ``pub``, ..."""
    right: str
    denied: bool
    direct_only: bool
    """Whether, on a list, it does not count for the lists in that list."""


@lru_cache(maxsize=_MOST_ENTRIES)
def grants_on(raw: RawEntry) -> tuple[Grant, ...]:
    """Return the send rights on an entry: ``<grantee> <kind> [modifier]<right>``, split from the right."""
    return tuple(_grants(raw))


def _grants(raw: RawEntry) -> Iterator[Grant]:
    for text in raw.all("zimbraace"):
        parts = text.strip().rsplit(" ", 2)
        if len(parts) != 3:  # noqa: PLR2004 - grantee, kind, right
            continue
        grantee, kind, right = parts
        modifiers = right[: len(right) - len(right.lstrip(_MODIFIERS))]
        name = right[len(modifiers) :].lower()
        denied = _DENY in modifiers
        # A right on subdomains only says nothing about accounts; what it denies it denies everywhere.
        if name in _ALL_RIGHTS and (denied or _SUBDOMAINS_ONLY not in modifiers):
            yield Grant(_folded(grantee, kind.lower()), kind.lower(), name, denied, _DIRECT_ONLY in modifiers)


def _folded(grantee: str, kind: str) -> str:
    """Return a grantee as it is compared: the id of an entry, an address, or a domain."""
    if kind == "edom":
        return fold_domain(grantee) or fold_value(grantee)
    return folded_address(grantee)


class Grants:
    """What is granted to one account, to one message."""

    def __init__(self, view: View, expansions: Expansions, account: Entry) -> None:
        """Look through a message's view."""
        self._view = view
        self._expansions = expansions
        self._account = account
        domain = view.site.domains.get(account.name.domain)
        self._is_me = {
            ("usr", id_of(account.raw)),
            ("email", account.name.key),
            ("edom", account.name.domain),
            ("dom", id_of(domain.raw) if domain is not None else ""),
        }
        self._in_groups: dict[str, bool | None] = {}
        """By zimbraId: whether the account is in that group; ``None``: that could not be found out."""
        self._doubts: dict[str, str] = {}
        """By zimbraId: which bound was too small to find it out, in words."""

    def let_write_as(self, target: Entry) -> bool:
        """Whether an entry lets the account write as it.

        Each right counts for itself: what denies the one takes nothing from the other.

        Raises:
            DirectoryUnavailable: it depends on a group that could not be read.
        """
        return any(self._has(right, target) for right in _RIGHTS[target.kind])

    def _has(self, right: str, target: Entry) -> bool:
        for granted in self._levels(right, target):
            verdict = self._said_by([grant for grant in granted if grant.right == right])
            if verdict is not None:
                return verdict
        return False

    def _levels(self, right: str, target: Entry) -> Iterator[Sequence[Grant]]:
        """Yield what stands on each level, the nearest to the target first; none is read before its turn."""
        site = self._view.site
        yield grants_on(target.raw)
        yield tuple(self._of_lists_around(right, target))
        domain = site.local_domain(target.name.domain)
        yield grants_on(domain.raw) if domain is not None else ()
        yield grants_on(site.global_grants) if site.global_grants is not None else ()

    def _said_by(self, grants: Collection[Grant]) -> bool | None:
        """Return what one level says to the account; ``None``: nothing.

        Raises:
            DirectoryUnavailable: it depends on a group of which it is not known who is in it.
        """
        for kinds in _STEPS:
            mine = [grant for grant in grants if grant.kind in kinds]
            if _GROUP in kinds:
                self._look_into([grant.grantee for grant in mine])
            for denied in (True, False):
                concerned = [self._concerns(grant) for grant in mine if grant.denied is denied]
                if True in concerned:
                    return not denied
                if None in concerned:
                    self._doubt([self._doubts[grant.grantee] for grant in mine if grant.grantee in self._doubts])
                    return True  # noted as not asked, which is no reason to say no
        return None

    def _concerns(self, grant: Grant) -> bool | None:
        if grant.kind == _GROUP:
            return self._in_groups[grant.grantee]
        return self._is_said_to_me(grant)

    def _is_said_to_me(self, grant: Grant) -> bool:
        return grant.kind in _EVERYBODY or (grant.kind, grant.grantee) in self._is_me

    def _look_into(self, group_ids: Iterable[str]) -> None:
        """Find out whether the account is in groups, for all of them together."""
        wanted = {name for name in group_ids if name not in self._in_groups}
        if not wanted:
            return
        answered = self._view.reader.by_id(wanted, self._view.trace)
        groups = {name: entry for name, entry in answered.items() if entry is not None}
        expansions = self._expansions.expand(groups.values())
        self._in_groups.update((name, False if name in answered else None) for name in wanted)
        for name, group in groups.items():
            expansion = expansions[group.dn]
            if _path_to(self._account, expansion) is not None:
                self._in_groups[name] = True
            elif expansion.truncated is not None:
                self._in_groups[name], self._doubts[name] = None, expansion.truncated

    def _doubt(self, why: list[str]) -> None:
        """Take note of what could not be found out.

        Raises:
            DirectoryUnavailable: unless the directory is lenient.
        """
        if why and not self._view.trace.lenient:
            raise DirectoryUnavailable(why[0])
        self._view.trace.failures.extend(why)

    def _of_lists_around(self, right: str, target: Entry) -> Iterator[Grant]:
        """Yield the grants on the lists that an account or a list is in, where they may concern the account.

        A dynamic group is in none.
        """
        if "zimbragroup" in target.raw.classes:
            return
        granting = self._view.reader.granting_groups(self._view.trace)
        if granting is None:
            yield Grant("", "pub", right, denied=False, direct_only=False)  # noted as not asked: no reason to say no
            return
        held = {
            id_of(raw): said
            for raw in granting
            if fold_dn(raw.dn) != fold_dn(target.dn)
            and (said := [grant for grant in grants_on(raw) if grant.right == right and self._may_concern(grant)])
        }
        if not held:
            return
        answered = self._view.reader.by_id(held.keys(), self._view.trace)
        groups = {name: entry for name, entry in answered.items() if entry is not None}
        expansions = self._expansions.expand(groups.values())
        for name, group in groups.items():
            expansion = expansions[group.dn]
            path = _path_to(target, expansion)
            if path is None and expansion.truncated is not None:
                self._doubt([expansion.truncated])
                yield from (grant for grant in held[name] if not grant.denied)
            elif path is not None:
                yield from (grant for grant in held[name] if not grant.direct_only or len(path) == 1)

    def _may_concern(self, grant: Grant) -> bool:
        return grant.kind == _GROUP or self._is_said_to_me(grant)


def _path_to(entry: Entry, expansion: Expansion) -> tuple[str, ...] | None:
    """Return the groups that lead to a member; ``None``: it is none, or only by a catch-all or a forward."""
    paths = (
        member.path
        for member in expansion.members
        if not member.by_forward and member.resolution.match != "catch-all" and member.resolution.entry == entry
    )
    return min(paths, key=len, default=None)
