"""Whom conditions name, and which From is written: lists that exist, domains that can sign."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ldapmilter.address import fold_domain, make_address
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.named import Uses
from ldapmilter.chunks import chunks
from ldapmilter.directory.backend.filters import And, Equal, Present
from ldapmilter.directory.searches import CHUNK
from ldapmilter.directory.site import SITE_ATTRIBUTES, SITE_FILTER, read_site
from ldapmilter.policy.rules import fill_address

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.named import Named
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.zimbra import ZimbraDirectory

_AREA = Area.VALUES

GROUP_MISSING = Kind(
    code="condition-group-missing",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="`group:` names an address that is not a list here: the rule or copy never happens.",
    remedy="correct the address, or make the list",
)
NOBODY = Kind(
    code="condition-nobody",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A condition names an address that does not exist in a domain hosted here: the rule or copy never happens.",
    remedy="correct the address",
)
FOREIGN = Kind(
    code="from-foreign",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Mail leaves with a From in a domain that this directory does not host: replies go elsewhere, and"
    " receivers may"
    " take it for a forgery.",
    remedy="write as an address of a hosted domain",
)
NO_DKIM = Kind(
    code="from-without-dkim",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Mail leaves with a From in another domain than its sender's, which has no DKIM key in the directory: it is"
    " not signed, and DMARC may fail.",
    remedy="as zimbra: /opt/zimbra/libexec/zmdkimkeyutil -a -d $domain, and publish the record that it prints",
)
DKIM_UNSEEN = Kind(
    code="from-dkim-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Whether the domains that From is rewritten to have a DKIM key could not be checked.",
    remedy="let the bind identity read $attributes, or look with zmdkimkeyutil -q -d DOMAIN",
)

KINDS = (GROUP_MISSING, NOBODY, FOREIGN, NO_DKIM, DKIM_UNSEEN)

_SELECTOR, _KEY = "DKIMSelector", "DKIMKey"
READS = (_SELECTOR,)


def check(named: Named, raw_directory: RawDirectory, directory: ZimbraDirectory, report: Report) -> None:
    """Look up whom conditions name and which domains From is rewritten to.

    Raises:
        DirectoryUnavailable: no answer.
    """
    _conditions(named, directory, report)
    _from_domains(named, raw_directory, report)


def _conditions(named: Named, directory: ZimbraDirectory, report: Report) -> None:
    for chunk in chunks(named.parties.items(), CHUNK):
        addresses = {key: make_address(*key.rpartition("@")[::2]) for (_kind, key), _uses in chunk}
        resolved = directory.for_message().resolve(list(addresses.values()))
        for (kind, key), uses in chunk:
            resolution = resolved[addresses[key].key]
            if kind == "group" and not any(entry.kind == "group" for entry in resolution.entries):
                report.add(GROUP_MISSING.found(f"group:{key} is not a list: {uses}"))
            elif kind == "address" and resolution.hosted_domain is not None and not resolution.entries:
                report.add(NOBODY.found(f"{key} does not exist: {uses}"))


def _from_domains(named: Named, raw_directory: RawDirectory, report: Report) -> None:
    if not named.from_templates:
        return
    site = read_site(raw_directory.search("", "sub", SITE_FILTER, SITE_ATTRIBUTES))
    written: dict[str, Uses] = defaultdict(Uses)
    for (_address, senders), (template, uses) in named.from_templates.items():
        for domain in _domains(template.address, site):
            if domain == senders and site.domains_for(domain) == {domain}:
                continue  # as well signed as before, and SPF goes by the same domain
            for place in uses.places:
                written[domain].add(place)
    hosted = {domain: uses for domain, uses in written.items() if domain in site.domains}
    for domain, uses in sorted(written.items()):
        if domain not in hosted:
            report.add(FOREIGN.found(f"{domain} is not hosted here: {uses}"))
    _signing(hosted, site, raw_directory, report)


def _domains(address: str, site: Site) -> set[str]:
    """Return the domains that a From template writes; none when it keeps the sender's own."""
    if "@" not in address or address.endswith("@{domain}"):
        return set()
    locals_ = sorted({domain.name for domain in site.domains.values() if domain.target is None})
    filled = (
        fill_address(address, {"localpart": "user", "domain": domain, "address": f"user@{domain}"}).rpartition("@")[2]
        for domain in (locals_ if "{domain}" in address else locals_[:1])
    )
    return {fold_domain(domain) or domain for domain in filled}


def _signing(hosted: dict[str, Uses], site: Site, raw_directory: RawDirectory, report: Report) -> None:
    """Look for DKIM keys as Zimbra's opendkim does: a selector and a key on the domain's entry.

    The key itself is a secret, so that there is one is all that is asked, and only where that may be asked.
    """
    if not hosted:
        return
    dn = site.domains[next(iter(hosted))].raw.dn
    if raw_directory.hidden(dn, (_SELECTOR,)):
        report.add(DKIM_UNSEEN.found(f"hidden: {_SELECTOR}", attributes=_SELECTOR))
        return
    parts = [_SELECTOR] if raw_directory.hidden(dn, (_KEY,)) else [_SELECTOR, _KEY]
    signing = And((Equal("objectClass", "zimbraDomain"), *map(Present, parts)))
    found = raw_directory.search("", "sub", signing, ("zimbraDomainName",))
    names = {fold_domain(entry.first("zimbradomainname") or "") for entry in found}
    for domain, uses in sorted(hosted.items()):
        if domain not in names:
            report.add(NO_DKIM.found(f"{domain} has no DKIM key: {uses}", domain=domain))
