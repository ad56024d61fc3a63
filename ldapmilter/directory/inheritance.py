"""Which levels apply to an entry: its own, policy groups, COS, domain, global config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.keys import Key
from ldapmilter.directory.model import Chain, Entry, Holder
from ldapmilter.folding import fold_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.keys import CacheKey
    from ldapmilter.directory.policy_groups import PolicyGroups
    from ldapmilter.directory.view import View


class Inheritance:
    """The levels of entries, to one message."""

    def __init__(self, view: View, policy_groups: PolicyGroups) -> None:
        """Read levels through a message's view."""
        self._view = view
        self._policy_groups = policy_groups

    def chains(self, entries: Collection[Entry]) -> dict[str, Chain]:
        """Return the levels that apply to each entry; see :meth:`Directory.chains`."""
        choices = {entry.dn: self._cos_choices(entry) for entry in entries if entry.kind == "account"}
        keys = dict.fromkeys(key for tries in choices.values() for key in tries)
        found = self._view.reader.cos(keys, self._view.trace) if keys else {}
        holders = {key: Holder(level="cos", raw=raw) for key, raw in found.items() if raw is not None}
        accounts = [entry for entry in entries if entry.kind == "account"]
        policy_groups = self._policy_groups.levels(accounts) if accounts and self._view.site.policy_groups else {}
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

    def prefetch(self, entries: Collection[Entry]) -> None:
        """Read what :meth:`chains` needs of entries together; see :meth:`Directory.prefetch_levels`."""
        accounts = [entry for entry in entries if entry.kind == "account"]
        keys = dict.fromkeys(key for account in accounts for key in self._cos_choices(account))
        if keys:
            self._view.reader.prefetch_cos(keys, self._view.trace)
        if accounts and self._view.site.policy_groups:
            self._policy_groups.prefetch(accounts)

    def _cos_choices(self, account: Entry) -> list[Key]:
        """Return the COSes of an account in the order in which Zimbra tries them (Provisioning.getCOS).

        Its own; unset or dangling, the default of the domain of its name; else the one called
        ``default``. External virtual accounts have a pair of defaults of their own.
        """
        external = account.raw.is_true("zimbraisexternalvirtualaccount")
        domain = self._view.site.domains.get(account.name.domain)
        attribute = "zimbradomaindefaultexternalusercosid" if external else "zimbradomaindefaultcosid"
        ids = [account.raw.first("zimbracosid"), domain.raw.first(attribute) if domain is not None else None]
        keys = [Key("cos", fold_value(cos_id)) for cos_id in ids if cos_id]
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
