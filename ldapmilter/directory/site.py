"""The few entries that every message needs: hosted domains, global config, mailbox servers.

Read in one search and kept as one cached value, so that an address outside the hosted domains
costs no search at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ldapmilter.address import Address, fold_domain, make_address
from ldapmilter.directory.entries import GROUP_CLASSES
from ldapmilter.directory.filters import And, Equal, Or, any_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.raw_entry import RawEntry

GLOBAL_CONFIG_DN = "cn=config,cn=zimbra"
POLICY_CLASS = "ldapMilterPolicy"
APPLIES_TO_MEMBERS = "ldapMilterAppliesToMembers"
_GROUPS = ("zimbraDistributionList", "zimbraGroup", "zimbraGroupDynamicUnit")
# Every account may carry the class of policy, and few are groups: both together are few, by indexes alone.
_POLICY_GROUPS = And(
    (any_of("objectClass", _GROUPS), Equal("objectClass", POLICY_CLASS), Equal(APPLIES_TO_MEMBERS, "TRUE"))
)
SITE_FILTER = Or((*any_of("objectClass", ("zimbraDomain", "zimbraGlobalConfig", "zimbraServer")).parts, _POLICY_GROUPS))
SITE_ATTRIBUTES = (
    "objectClass",
    "cn",
    "zimbraId",
    "zimbraDomainName",
    "zimbraDomainType",
    "zimbraDomainAliasTargetId",
    "zimbraDomainDefaultCOSId",
    "zimbraDomainDefaultExternalUserCOSId",
    "zimbraMailCatchAllAddress",
    "zimbraMailCatchAllForwardingAddress",
    "zimbraDefaultDomainName",
    "zimbraMtaRecipientDelimiter",
    "zimbraServiceHostname",
    "zimbraServiceEnabled",
    "zimbraSmtpSendAddAuthenticatedUser",
)


@dataclass(frozen=True, slots=True)
class Domain:
    """One hosted domain (class ``zimbraDomain``)."""

    name: str
    raw: RawEntry = field(repr=False)
    target: str | None = None
    """Of an alias domain: the name of the domain it stands for (one hop, as Zimbra goes)."""


@dataclass(frozen=True, slots=True)
class Site:
    """A snapshot of what is global."""

    domains: dict[str, Domain]
    config: RawEntry | None
    mailbox_host_names: tuple[str, ...]
    """``zimbraServiceHostname`` of the servers whose ``zimbraServiceEnabled`` has ``mailbox``."""
    policy_groups: tuple[RawEntry, ...] = ()
    """Groups with ``ldapMilterAppliesToMembers`` TRUE: their values are a level of their members."""

    @property
    def default_domain(self) -> str | None:
        """``zimbraDefaultDomainName``: what a bare login is completed with."""
        name = self.config.first("zimbradefaultdomainname") if self.config is not None else None
        return fold_domain(name) if name else None

    @property
    def delimiters(self) -> str:
        """The characters of ``zimbraMtaRecipientDelimiter``; empty when subaddressing is off."""
        return "".join(self.config.all("zimbramtarecipientdelimiter")) if self.config is not None else ""

    def local_domain(self, name: str) -> Domain | None:
        """Return the domain whose policy covers addresses of ``name``: an alias domain's target."""
        domain = self.domains.get(name)
        if domain is not None and domain.target is not None:
            return self.domains.get(domain.target, domain)
        return domain

    def spellings(self, address: Address) -> tuple[Address, ...]:
        """Return the address, and after it how it is spelled in the domain that its domain stands for."""
        domain = self.domains.get(address.domain)
        if domain is None or domain.target is None:
            return (address,)
        return (address, make_address(address.local, domain.target))

    def without_extension(self, address: Address) -> Address | None:
        """Return the address without its subaddress, or ``None`` when it has none.

        As Postfix does with ``recipient_delimiter``: at the first delimiter that does not stand first.
        """
        cuts = [cut for char in self.delimiters if (cut := address.local.find(char, 1)) > 0]
        if not cuts:
            return None
        return make_address(address.local[: min(cuts)], address.domain)


def read_site(entries: Iterable[RawEntry]) -> Site:
    """Make a snapshot from the entries of one search."""
    config: RawEntry | None = None
    policy_groups: list[RawEntry] = []
    raw_domains: dict[str, RawEntry] = {}
    hosts: list[str] = []
    for entry in entries:
        classes = {name.lower() for name in entry.all("objectclass")}
        if "zimbraglobalconfig" in classes:
            config = entry
        if classes & GROUP_CLASSES:
            policy_groups.append(entry)
        if "zimbradomain" in classes and (name := fold_domain(entry.first("zimbradomainname") or "")):
            raw_domains[name] = entry
        if "zimbraserver" in classes and "mailbox" in entry.all("zimbraserviceenabled"):
            hosts.append(entry.first("zimbraservicehostname") or entry.first("cn") or "")
    names_by_id = {(raw.first("zimbraid") or "").lower(): name for name, raw in raw_domains.items()}
    domains = {
        name: Domain(name=name, raw=raw, target=_target(name, raw, names_by_id, raw_domains))
        for name, raw in raw_domains.items()
    }
    return Site(
        domains=domains,
        config=config,
        mailbox_host_names=tuple(sorted(filter(None, hosts))),
        policy_groups=tuple(sorted(policy_groups, key=lambda raw: raw.dn)),
    )


def _target(name: str, raw: RawEntry, names_by_id: dict[str, str], domains: dict[str, RawEntry]) -> str | None:
    """Return what a domain stands for: the provisioning way, else the catch-all-forwarding way."""
    if (raw.first("zimbradomaintype") or "local").lower() != "local":
        target = names_by_id.get((raw.first("zimbradomainaliastargetid") or "").lower())
        if target is not None and target != name:
            return target
    catch_all = {value.lower() for value in raw.all("zimbramailcatchalladdress")}
    forward = (raw.first("zimbramailcatchallforwardingaddress") or "").removeprefix("@").lower()
    return forward if f"@{name}" in catch_all and forward in domains and forward != name else None
