"""Lists and dynamic groups: near the bounds past which mail is held up, or open to their members."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.policy_values import CONFLICT
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, read_entry
from ldapmilter.directory.filters import any_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.policy_values import Named
    from ldapmilter.checks.sight import Sight
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.zimbra import ZimbraDirectory

_AREA = Area.VALUES
NEARLY = 0.8
"""Share of ``[groups] max_members`` from which a list counts as nearly full."""

NEARLY_FULL = Kind(
    code="list-nearly-full",
    severity=Severity.WARNING,
    area=_AREA,
    meaning=f"A list has {NEARLY:.0%} of `[groups] max_members` or more: past it, mail to the list (and, for a policy"
    " group,"
    " all mail) is held up.",
    remedy="raise [groups] max_members, or split the list",
)
TOO_LARGE = Kind(
    code="list-too-large",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A list is past `[groups] max_members` or `max_depth`: its members are not all known, and mail to it is"
    " held up.",
    remedy="raise the bound that the text names, or split the list",
)
VISIBLE = Kind(
    code="policy-group-visible",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A list that brings policy on its members stands in the address list: users see that it is there, and who"
    " is in it.",
    remedy="zmprov mdl $name zimbraHideInGal TRUE",
)
LEAVABLE = Kind(
    code="policy-group-leavable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Members may leave a list that brings policy on them, and so shed the policy.",
    remedy="zmprov mdl $name zimbraDistributionListUnsubscriptionPolicy REJECT",
)
JOINABLE = Kind(
    code="policy-group-joinable",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Users may put themselves on a list that brings policy on its members.",
    remedy="zmprov mdl $name zimbraDistributionListSubscriptionPolicy REJECT",
)
OWNED = Kind(
    code="policy-group-owned",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A list that brings policy on its members has owners, who may change its members in the web client.",
    remedy="zmprov rdlo $name OWNER for everybody who may not change policy",
)
UNSEEN = Kind(
    code="policy-group-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Whether members can see or leave the lists that bring policy on them could not be looked at.",
    remedy="let the bind identity read $attributes, or look with zmprov gdl",
)

KINDS = (NEARLY_FULL, TOO_LARGE, VISIBLE, LEAVABLE, JOINABLE, OWNED, UNSEEN)

_HIDE = "zimbraHideInGal"
_LEAVE = "zimbraDistributionListUnsubscriptionPolicy"
_JOIN = "zimbraDistributionListSubscriptionPolicy"
READS = (_HIDE, _LEAVE, _JOIN)
_OWNER_RIGHT = "owndistlist"
_GROUPS_AT_ONCE = 50


def check(named: Named, sight: Sight, directory: ZimbraDirectory, limits: GroupLimits, report: Report) -> None:
    """Look at the size of every list, and at who can see and leave policy groups.

    Raises:
        DirectoryUnavailable: no answer.
    """
    wanted = any_of("objectClass", ("zimbraDistributionList", "zimbraGroup"))
    waiting: list[Entry] = []
    for raw in sight.pages(sight.base, wanted, ENTRY_ATTRIBUTES):
        entry = read_entry(raw)
        if entry is not None:
            waiting.append(entry)
        if len(waiting) == _GROUPS_AT_ONCE:
            _sizes(waiting, directory, limits, report)
            waiting = []
    _sizes(waiting, directory, limits, report)
    if named.policy_groups:
        _open_to_members(named.policy_groups, sight, report)
        _contradictions(named, directory, report)


def _sizes(groups: Sequence[Entry], directory: ZimbraDirectory, limits: GroupLimits, report: Report) -> None:
    if not groups:
        return
    expansions = directory.for_message().expand(groups)
    for group in groups:
        expansion = expansions[group.dn]
        members = len(expansion.members)
        if expansion.truncated:
            report.add(TOO_LARGE.found(expansion.truncated))
        elif members >= NEARLY * limits.max_members:
            text = f"{group.name} has {members} members, [groups] max_members = {limits.max_members}"
            report.add(NEARLY_FULL.found(text))


def _open_to_members(groups: Sequence[RawEntry], sight: Sight, report: Report) -> None:
    hidden = sight.hidden(groups[0].dn, (*READS, "zimbraACE"))
    if hidden:
        report.add(UNSEEN.found(f"hidden: {', '.join(hidden)}", attributes=", ".join(hidden)))
    ids = [zimbra_id for raw in groups for zimbra_id in raw.all("zimbraid")]
    for raw in sight.search(
        sight.base, "sub", any_of("zimbraId", ids), ("uid", "cn", *ENTRY_ATTRIBUTES, *READS, "zimbraACE")
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
    expansions = directory.for_message().expand(list(groups.values()))
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
