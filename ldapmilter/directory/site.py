"""The few entries that every message needs: hosted domains, global config, mailbox servers.

Read in one search and kept as one cached value, so that an address outside the hosted domains
costs no search at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import Address, fold_domain, make_address
from ldapmilter.directory.backend.filters import And, Equal, Or, Present, any_of
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS, LIST_BOUNCES, POLICY_CLASS
from ldapmilter.directory.entries import GROUP_CLASS_NAMES, GROUP_CLASSES, catch_all_keys, id_of
from ldapmilter.folding import fold_value
from ldapmilter.postfix.routing import delivered_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ldapmilter.directory.backend.raw_entry import RawEntry

# Every account may carry the class of policy, and few are groups: both together are few, by indexes alone.
_GROUPS_OF_THE_SITE = And(
    (
        any_of("objectClass", GROUP_CLASS_NAMES),
        Equal("objectClass", POLICY_CLASS),
        Or((Equal(APPLIES_TO_MEMBERS, "TRUE"), Present(LIST_BOUNCES))),
    )
)
CENTRAL_CLASSES = ("zimbraGlobalConfig", "zimbraServer", "zimbraAclTarget")
"""What stands below ``cn=zimbra``; of the last class is the global grant entry, and nothing else."""
SITE_CLASSES = ("zimbraDomain", *CENTRAL_CLASSES)
"""What is of the site whatever it says; groups are by their values."""
SITE_FILTER = Or((*any_of("objectClass", SITE_CLASSES).parts, _GROUPS_OF_THE_SITE))
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
    "zimbraMailCatchAllCanonicalAddress",
    "zimbraDefaultDomainName",
    "zimbraMtaRecipientDelimiter",
    "zimbraServiceHostname",
    "zimbraServiceEnabled",
    "zimbraSmtpSendAddAuthenticatedUser",
    "zimbraACE",
)


_NEVER_SPLIT = frozenset({"postmaster", "mailer-daemon", "double-bounce"})
_LOCALHOST = frozenset({"localhost", "localhost.localdomain"})


class Domain(Struct, frozen=True):
    """One hosted domain (class ``zimbraDomain``)."""

    name: str
    raw: RawEntry
    target: str | None = None
    """Of an alias domain: the name of the domain it stands for (one hop, as Zimbra goes)."""
    canonical: str | None = None
    """The domain that Postfix's ``canonical_maps`` writes instead of it."""


class Site(Struct, frozen=True):
    """A snapshot of what is global."""

    domains: dict[str, Domain]
    config: RawEntry | None
    mailbox_host_names: tuple[str, ...]
    """``zimbraServiceHostname`` of the servers whose ``zimbraServiceEnabled`` has ``mailbox``."""
    host_names: frozenset[str] = frozenset()
    """``zimbraServiceHostname`` of every server, as domains."""
    policy_groups: tuple[RawEntry, ...] = ()
    """Groups with ``ldapMilterAppliesToMembers`` TRUE: their values are a level of their members."""
    has_list_bounces: bool = False
    """Whether any list, domain or the global config has ``ldapMilterListBounces``."""
    global_grants: RawEntry | None = None
    """The entry whose ``zimbraACE`` holds for every account and list (``cn=globalgrant,cn=zimbra``)."""

    def raws(self) -> Iterator[RawEntry]:
        """Yield every entry that it was made from, but for the servers."""
        yield from (entry for entry in (self.config, self.global_grants) if entry is not None)
        yield from (domain.raw for domain in self.domains.values())
        yield from self.policy_groups

    def has_server(self, raw: RawEntry) -> bool:
        """Whether it was made from a server that is called so, and runs the mailbox service or not, as this one."""
        host = host_of(raw)
        known = not (name := fold_domain(fold_value(host))) or name in self.host_names
        return known and (host in self.mailbox_host_names) == ("mailbox" in raw.all("zimbraserviceenabled"))

    @property
    def default_domain(self) -> str | None:
        """``zimbraDefaultDomainName``: what a bare login is completed with."""
        name = self.config.first("zimbradefaultdomainname") if self.config is not None else None
        return fold_domain(fold_value(name)) if name else None

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

    def canonical(self, address: Address) -> Iterator[Address]:
        """Yield how ``canonical_maps`` rewrites a recipient by its domain, in every spelling."""
        seen = {address.domain}
        while (domain := self.domains.get(address.domain)) is not None and domain.canonical is not None:
            if domain.canonical in seen:
                return
            seen.add(domain.canonical)
            address = make_address(address.local, domain.canonical)
            yield from self.spellings(address)

    def domains_for(self, name: str) -> set[str]:
        """Return the domains whose mail comes to a domain: its alias domains, and those readdressed to any of them."""
        found = {name}
        while more := {
            domain.name
            for domain in self.domains.values()
            if domain.name not in found and (domain.target in found or domain.canonical in found)
        }:
            found |= more
        return found

    def delivered_to(self, address: Address) -> Address:
        """Return the address that Postfix delivers to: routes through its own host are undone.

        What mail is addressed to by SMTP has been through that; a list member, a forward and what
        sendmail(1) was given has not.
        """
        if address.domain in self.domains:
            return address
        return delivered_to(address, self._is_host)

    def delivered_as(self, address: Address) -> Iterator[Address]:
        """Yield whom an address in an alias map may mean, in every spelling but that of a catch-all."""
        meant = self.delivered_to(address)
        for one in (meant, self.without_extension(meant)):
            if one is not None:
                yield from self.spellings(one)
                yield from self.canonical(one)

    def is_here(self, domain: str) -> bool:
        """Whether mail to a domain stays here: it is hosted, or may be Postfix's own host."""
        return domain in self.domains or self._is_host(domain)

    def _is_host(self, domain: str) -> bool:
        """Whether a domain may be Postfix's own host: an address literal, ``localhost``, one of Zimbra's servers."""
        if domain in self.domains:
            return False
        return domain.startswith("[") or domain in _LOCALHOST or domain in self.host_names

    def without_extension(self, address: Address) -> Address | None:
        """Return the address without its subaddress, or ``None`` when it has none.

        As Postfix does with ``recipient_delimiter`` (``split_addr``): at the first delimiter, unless that
        stands first. The names of Postfix's own senders have no subaddress, and where ``-`` parts, nor have
        ``owner-LIST`` and ``LIST-request`` (``owner_request_special``, on by default). The address need
        not be readable: what is left may be.
        """
        local = address.local
        if (name := local.lower()) in _NEVER_SPLIT:
            return None
        if "-" in self.delimiters and (name.startswith("owner-") or name.endswith("-request", 1)):
            return None
        cut = min((cut for char in self.delimiters if (cut := local.find(char)) >= 0), default=0)
        return make_address(local[:cut], address.domain) if cut > 0 else None


def host_of(server: RawEntry) -> str:
    """Return how a server is called."""
    return server.first("zimbraservicehostname") or server.first("cn") or ""


def read_site(entries: Iterable[RawEntry]) -> Site:
    """Make a snapshot from the entries of one search."""
    config: RawEntry | None = None
    global_grants: RawEntry | None = None
    policy_groups: list[RawEntry] = []
    raw_domains: dict[str, RawEntry] = {}
    hosts: list[str] = []
    host_names: set[str] = set()
    has_list_bounces = False
    for entry in entries:
        has_list_bounces = has_list_bounces or bool(entry.all(LIST_BOUNCES.lower()))
        classes = entry.classes
        if "zimbraglobalconfig" in classes:
            config = entry
        if "zimbraacltarget" in classes:
            global_grants = entry
        if classes & GROUP_CLASSES and entry.is_true(APPLIES_TO_MEMBERS.lower()):
            policy_groups.append(entry)
        if "zimbradomain" in classes:
            raw_domains.update(dict.fromkeys(_domain_names(entry), entry))
        if "zimbraserver" in classes:
            host = host_of(entry)
            if "mailbox" in entry.all("zimbraserviceenabled"):
                hosts.append(host)
            if name := fold_domain(fold_value(host)):
                host_names.add(name)
    names_by_id = {id_of(raw): name for name, raw in raw_domains.items()}
    domains = {
        name: Domain(
            name=name,
            raw=raw,
            target=_target(name, raw, names_by_id, raw_domains),
            canonical=_canonical(name, raw, raw_domains),
        )
        for name, raw in raw_domains.items()
    }
    return Site(
        domains=domains,
        config=config,
        mailbox_host_names=tuple(sorted(filter(None, hosts))),
        host_names=frozenset(host_names),
        policy_groups=tuple(sorted(policy_groups, key=lambda raw: raw.dn)),
        has_list_bounces=has_list_bounces,
        global_grants=global_grants,
    )


def _domain_names(raw: RawEntry) -> list[str]:
    """Return the name of a domain; none when mail could not be addressed to what is written there."""
    return [name for text in raw.all_subtypes("zimbradomainname") if (name := fold_domain(fold_value(text)))]


def _domain_of(catch_all: str | None) -> str | None:
    """Return the domain in a value ``@domain``."""
    return fold_domain(fold_value(catch_all or "").removeprefix("@"))


def _canonical(name: str, raw: RawEntry, domains: dict[str, RawEntry]) -> str | None:
    """Return the hosted domain that mail to a domain is readdressed to by ``canonical_maps``."""
    other = _domain_of(raw.first("zimbramailcatchallcanonicaladdress"))
    return other if f"@{name}" in catch_all_keys(raw) and other in domains and other != name else None


def _target(name: str, raw: RawEntry, names_by_id: dict[str, str], domains: dict[str, RawEntry]) -> str | None:
    """Return what a domain stands for: the provisioning way, else the catch-all-forwarding way."""
    if (raw.first("zimbradomaintype") or "local").lower() != "local":
        target = names_by_id.get(fold_value(raw.first("zimbradomainaliastargetid") or ""))
        if target is not None and target != name:
            return target
    catch_all = catch_all_keys(raw)
    forward = _domain_of(raw.first("zimbramailcatchallforwardingaddress"))
    return forward if f"@{name}" in catch_all and forward in domains and forward != name else None
