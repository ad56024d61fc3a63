"""Which levels apply to an entry: its own, policy groups, COS, domain, global config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.entries import read_entry
from ldapmilter.directory.loading import Key
from ldapmilter.directory.model import Chain, Entry, Holder
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ldapmilter.directory.expansions import Expansions
    from ldapmilter.directory.loading import CacheKey
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.view import View

PolicyGroups = dict[str, tuple[Holder, ...]]
"""By the DN of every account in one: the groups whose values apply to their members."""


class Inheritance:
    """The levels of entries, to one message."""

    def __init__(self, view: View, expansions: Expansions) -> None:
        """Read levels through a message's view."""
        self._view = view
        self._expansions = expansions

    def chains(self, entries: Collection[Entry]) -> dict[str, Chain]:
        """Return the levels that apply to each entry; see :meth:`Directory.chains`."""
        choices = {entry.dn: self._cos_choices(entry) for entry in entries if entry.kind == "account"}
        keys = dict.fromkeys(key for tries in choices.values() for key in tries)
        found = self._view.reader.cos(keys, self._view.trace) if keys else {}
        holders = {key: Holder(level="cos", raw=raw) for key, raw in found.items() if raw is not None}
        policy_groups = self.policy_groups() if choices and self._view.site.policy_groups else {}
        tails: dict[str, Chain] = {}
        chains: dict[str, Chain] = {}
        for entry in entries:
            domain = entry.name.domain
            if domain not in tails:
                tails[domain] = self.domain_chain(domain)
            if entry.kind == "group":
                chains[entry.dn] = (Holder(level="group", raw=entry.raw), *tails[domain])
                continue
            cos = _chosen(choices[entry.dn], found, holders)
            chains[entry.dn] = (
                Holder(level="account", raw=entry.raw),
                *policy_groups.get(entry.dn, ()),
                *((cos,) if cos is not None else ()),
                *tails[domain],
            )
        return chains

    def policy_groups(self) -> PolicyGroups:
        """Return, by the DN of every account in one, the groups whose values apply to their members."""
        key = ("policy groups",)
        return self._view.derived([key], lambda _keys: {key: self._read_policy_groups(self._view.site.policy_groups)})[
            key
        ]

    def _read_policy_groups(self, raws: Collection[RawEntry]) -> PolicyGroups:
        entries = [entry for raw in raws if (entry := read_entry(raw)) is not None]
        found: dict[str, list[Holder]] = {}
        for entry, expansion in zip(entries, self._expansions.expand(entries).values(), strict=True):
            if expansion.truncated:
                if not self._view.trace.lenient:
                    raise DirectoryUnavailable(expansion.truncated)
                self._view.trace.failures.append(expansion.truncated)
            for member in expansion.members:
                for account in member.resolution.entries:
                    if account.kind == "account" and not member.by_forward:
                        holder = Holder(level="policy-group", raw=entry.raw, group_path=member.path)
                        found.setdefault(account.dn, []).append(holder)
        return {dn: tuple({holder.dn: holder for holder in holders}.values()) for dn, holders in found.items()}

    def _cos_choices(self, account: Entry) -> list[Key]:
        """Return the COSes of an account in the order in which Zimbra tries them (Provisioning.getCOS).

        Its own; unset or dangling, the default of the domain of its name; else the one called
        ``default``. External virtual accounts have a pair of defaults of their own.
        """
        external = account.raw.is_true("zimbraisexternalvirtualaccount")
        domain = self._view.site.domains.get(account.name.domain)
        attribute = "zimbradomaindefaultexternalusercosid" if external else "zimbradomaindefaultcosid"
        ids = [account.raw.first("zimbracosid"), domain.raw.first(attribute) if domain is not None else None]
        keys = [Key("cos", cos_id.lower()) for cos_id in ids if cos_id]
        return [*keys, Key("cos-name", "defaultexternal" if external else "default")]

    def domain_chain(self, hosted_domain: str) -> Chain:
        """Return the levels of an address without entry; see :meth:`Directory.domain_chain`."""
        site = self._view.site
        domain = site.local_domain(hosted_domain)
        levels: list[Holder] = []
        if domain is not None:
            levels.append(Holder(level="domain", raw=domain.raw))
        if site.config is not None:
            levels.append(Holder(level="global", raw=site.config))
        return tuple(levels)


def _chosen(
    choices: list[Key], found: Mapping[CacheKey, RawEntry | None], holders: Mapping[CacheKey, Holder]
) -> Holder | None:
    """Return the first COS there is; none when it could not be asked whether an earlier one is there."""
    for key in choices:
        if key not in found or key in holders:
            return holders.get(key)
    return None
