"""Lists and dynamic groups: near the bounds past which mail is held up, or open to their members."""

from __future__ import annotations

import time
from itertools import combinations
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.policy_values import CONFLICT
from ldapmilter.checks.reading import entries_of
from ldapmilter.directory.backend.filters import any_of
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, read_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.named import Named
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.zimbra import ZimbraDirectory

_AREA = Area.VALUES
NEARLY = 0.8
"""Share of ``[groups] max_members`` from which a list counts as nearly full."""

NEARLY_FULL = Kind(
    code="list-nearly-full",
    severity=Severity.WARNING,
    area=_AREA,
    meaning=f"A list has {NEARLY:.0%} of `[groups] max_members` or more: beyond it, mail to the list is deferred.",
    remedy="raise [groups] max_members, or split the list",
)
TOO_LARGE = Kind(
    code="list-too-large",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A list exceeds `[groups] max_members` or `max_depth`: not all its members are known, and mail to it is"
    " deferred.",
    remedy="raise the limit that the text names, or split the list",
)
WAITS = Kind(
    code="list-waits",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Reading the members of a list takes longer than a message may wait: the first message to it gets a 451,"
    " and goes through at its second or third try.",
    remedy="raise [ldap] lookup_deadline (well below Postfix's milter_command_timeout), or make the LDAP server faster",
)
VISIBLE = Kind(
    code="policy-group-visible",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A list whose policy applies to its members is in the address list: users see it, and who is in it.",
    remedy="zmprov mdl $name zimbraHideInGal TRUE",
)
LEAVABLE = Kind(
    code="policy-group-leavable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Members may leave a list whose policy applies to them, and so escape the policy.",
    remedy="zmprov mdl $name zimbraDistributionListUnsubscriptionPolicy REJECT",
)
JOINABLE = Kind(
    code="policy-group-joinable",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Users may join a list whose policy applies to its members.",
    remedy="zmprov mdl $name zimbraDistributionListSubscriptionPolicy REJECT",
)
OWNED = Kind(
    code="policy-group-owned",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A list whose policy applies to its members has owners, who may change its members in the web client.",
    remedy="zmprov rdlo $name OWNER for every owner who may not change policy",
)
UNSEEN = Kind(
    code="policy-group-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Whether members can see or leave the lists whose policy applies to them could not be checked.",
    remedy="let the bind identity read $attributes, or look with zmprov gdl",
)

KINDS = (NEARLY_FULL, TOO_LARGE, WAITS, VISIBLE, LEAVABLE, JOINABLE, OWNED, UNSEEN)

_HIDE = "zimbraHideInGal"
_LEAVE = "zimbraDistributionListUnsubscriptionPolicy"
_JOIN = "zimbraDistributionListSubscriptionPolicy"
READS = (_HIDE, _LEAVE, _JOIN)
_OWNER_RIGHT = "owndistlist"
_GROUPS_AT_ONCE = 50
_LONGEST = 3600.0
"""Seconds for the members of so many groups: no message waits for them."""


def check(
    named: Named,
    raw_directory: RawDirectory,
    directory: ZimbraDirectory,
    limits: GroupLimits,
    report: Report,
    *,
    lookup_deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look at the size of every list, and at who can see and leave policy groups.

    Args:
        named: what policy values name.
        raw_directory: what the bind identity can see.
        directory: resolves and expands.
        limits: bounds of groups.
        report: where findings go.
        lookup_deadline: seconds that a message may wait.
        clock: tells how long the members of lists take to read.

    Raises:
        DirectoryUnavailable: no answer.
    """
    wanted = any_of("objectClass", ("zimbraDistributionList", "zimbraGroup"))
    sizes: dict[str, int] = {}
    seconds = 0.0
    for groups in entries_of(raw_directory.pages(raw_directory.base, wanted, ENTRY_ATTRIBUTES), _GROUPS_AT_ONCE):
        began = clock()
        sizes.update(_sizes(groups, directory, limits, report))
        seconds += clock() - began
    _waits(sizes, seconds, lookup_deadline, report)
    if named.policy_groups:
        _open_to_members(named.policy_groups, raw_directory, report)
        _contradictions(named, directory, report)


def _sizes(groups: Sequence[Entry], directory: ZimbraDirectory, limits: GroupLimits, report: Report) -> dict[str, int]:
    """Look at the size of some groups; return how many members each has, by its name."""
    sizes: dict[str, int] = {}
    expansions = directory.for_message(seconds=_LONGEST).expand(groups)
    for group in groups:
        expansion = expansions[group.dn]
        members = len(expansion.members)
        if expansion.truncated:
            report.add(TOO_LARGE.found(expansion.truncated))
        elif members >= NEARLY * limits.max_members:
            text = f"{group.name} has {members} members, [groups] max_members = {limits.max_members}"
            report.add(NEARLY_FULL.found(text))
        sizes[group.name.text] = members
    return sizes


def _waits(sizes: Mapping[str, int], seconds: float, lookup_deadline: float, report: Report) -> None:
    """Name lists that would take too long to read on their own, at the rate at which all were read together."""
    each = seconds / max(1, sum(sizes.values()))
    for name, members in sorted(sizes.items()):
        if members * each > lookup_deadline:
            text = f"{name} has {members} members, who take about {members * each:.0f} seconds to read"
            report.add(WAITS.found(f"{text}, [ldap] lookup_deadline = {lookup_deadline:g}"))


def _open_to_members(groups: Sequence[RawEntry], raw_directory: RawDirectory, report: Report) -> None:
    hidden = raw_directory.hidden(groups[0].dn, (*READS, "zimbraACE"))
    if hidden:
        report.add(UNSEEN.found(f"hidden: {', '.join(hidden)}", attributes=", ".join(hidden)))
    ids = [zimbra_id for raw in groups for zimbra_id in raw.all("zimbraid")]
    for raw in raw_directory.search(
        raw_directory.base, "sub", any_of("zimbraId", ids), ("uid", "cn", *ENTRY_ATTRIBUTES, *READS, "zimbraACE")
    ):
        entry = read_entry(raw)
        if entry is None:
            continue
        name = entry.name.text
        if _HIDE not in hidden and not raw.is_true(_HIDE.lower()):
            report.add(VISIBLE.found(f"{name}: {_HIDE} is not TRUE", name=name))
        for attribute, kind in ((_LEAVE, LEAVABLE), (_JOIN, JOINABLE)):
            policy = (raw.first(attribute.lower()) or "").upper()
            if policy == "ACCEPT":  # APPROVAL asks an owner; unset means REJECT
                report.add(kind.found(f"{name}: {attribute} {policy}", name=name))
        owners = [ace for ace in raw.all("zimbraace") if ace.lower().endswith(_OWNER_RIGHT) and not _denies(ace)]
        if owners:
            count = f"{len(owners)} grants" if len(owners) > 1 else "a grant"
            report.add(OWNED.found(f"{name}: {count} of ownDistList", name=name))


def _denies(ace: str) -> bool:
    return ace.rsplit(" ", 1)[-1].startswith("-")


def _contradictions(named: Named, directory: ZimbraDirectory, report: Report) -> None:
    """Two policy groups with a member in common whose From rules want different things for the same mail."""
    if not named.group_rules:
        return
    entries = {raw.dn: entry for raw in named.policy_groups if (entry := read_entry(raw)) is not None}
    members = _members(entries, directory)
    for (one_dn, rule, one), (other_dn, other_rule, other) in combinations(named.group_rules, 2):
        if one_dn == other_dn or rule.when != other_rule.when or rule.mailbox == other_rule.mailbox:
            continue
        common = sorted(members.get(one_dn, frozenset()) & members.get(other_dn, frozenset()))
        if common:
            report.add(CONFLICT.found(f"{one} and {other}, both for {common[0]}"))


def _members(groups: Mapping[str, Entry], directory: ZimbraDirectory) -> dict[str, frozenset[str]]:
    expansions = directory.for_message(seconds=_LONGEST).expand(list(groups.values()))
    return {
        dn: frozenset(
            entry.dn
            for member in expansion.members
            if not member.by_forward
            for entry in member.resolution.entries
            if entry.kind == "account"
        )
        for dn, expansion in expansions.items()
    }
