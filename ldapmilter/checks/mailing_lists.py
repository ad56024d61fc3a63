"""Lists with settings: what keeps their posts from arriving, or sets their Reply-To once more."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.policy_values import INVALID
from ldapmilter.directory.backend.filters import any_of
from ldapmilter.directory.backend.names import GLOBAL_CONFIG_DN, is_ours
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, read_entry
from ldapmilter.policy.list_names import aligned
from ldapmilter.policy.list_values import mailing_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ldapmilter.checks.finding import Finding, Report
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.zimbra import ZimbraDirectory
    from ldapmilter.policy.list_values import MailingList
    from ldapmilter.policy.settings import Policy

_AREA = Area.VALUES

UNALIGNED = Kind(
    code="list-unaligned",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Posts from outside leave with the From of a list without `ldapMilterListBounces` in its domain: without a"
    " signature of the list's domain they fail DMARC. A problem where that domain publishes p=quarantine or p=reject.",
    remedy="set ldapMilterListBounces on $name to an address in its domain, or route"
    " its posts to a signing hop (docs/lists.md), and accept this",
)
REPLY_TO = Kind(
    code="list-reply-to",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A list has `ldapMilterListReplyTo` and `zimbraPrefReplyToEnabled`: Zimbra's own milter runs last, and its"
    " Reply-To wins.",
    remedy="zmprov mdl $name zimbraPrefReplyToEnabled FALSE",
)
VERIFIER = Kind(
    code="list-milter-behind",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Milters are registered behind this one, and lists change the From of posts: one that verifies SPF, DKIM or"
    " DMARC judges the new From by the author's host and signature.",
    remedy="put $milters before ldapmilter in smtpd_milters, if it verifies",
)
UNREAD = Kind(
    code="list-settings-unread",
    severity=Severity.WARNING,
    area=Area.LDAP,
    meaning="The server does not know the settings of lists (older schema), or the milter may not read them: posts"
    " pass as they are. A note where no attribute of ours holds copies or From rules.",
    remedy="run scripts/install-schema on every LDAP server, or empty the attributes in [lists]",
)

KINDS = (UNALIGNED, REPLY_TO, VERIFIER, UNREAD)

_REPLY_TO_ENABLED = "zimbraPrefReplyToEnabled"
READS = (_REPLY_TO_ENABLED,)
_LISTS = ("zimbraDistributionList", "zimbraGroup")
_AT_ONCE = 50
_LONGEST = 3600.0
"""Seconds for the members of so many lists: no message waits for them."""
_DMARC = re.compile(r"v\s*=\s*DMARC1\b.*?;\s*p\s*=\s*(none|quarantine|reject)\b", re.IGNORECASE)
_DMARC_BELOW = re.compile(r";\s*sp\s*=\s*(none|quarantine|reject)\b", re.IGNORECASE)
_STRICT = frozenset({"quarantine", "reject"})
_DNS_SECONDS = 10.0


class ListInUse(Struct, frozen=True):
    """A list, and what its chain says of posts to it."""

    raw: RawEntry
    entry: Entry
    settings: MailingList | None
    """``None``: nothing."""
    outside: bool
    """Whether it reaches an address in no hosted domain."""

    @property
    def rewrites(self) -> bool:
        """Whether the From of some post changes."""
        when = self.settings.from_when if self.settings is not None else None
        return when is not None and (when.value == "always" or (when.value == "foreign" and self.outside))


def lists_in_use(
    raws: Sequence[RawEntry], directory: Directory, policy: Policy, *, without_settings: bool = False
) -> Iterator[ListInUse]:
    """Yield the lists among some entries that have settings; ``without_settings``: and the others.

    Raises:
        DirectoryUnavailable: no answer.
    """
    entries = {raw.dn: entry for raw in raws if (entry := read_entry(raw)) is not None and entry.kind == "group"}
    chains = directory.chains(entries.values()) if entries else {}
    settings = {dn: mailing_list(one, chains[dn], policy.lists, directory) for dn, one in entries.items()}
    wanted = [one for dn, one in entries.items() if without_settings or settings[dn] is not None]
    expansions = directory.expand(wanted) if wanted else {}
    for raw in raws:
        if raw.dn in expansions:
            outside = any(one.resolution.hosted_domain is None for one in expansions[raw.dn].members)
            yield ListInUse(raw, entries[raw.dn], settings[raw.dn], outside)


def check_readable(raw_directory: RawDirectory, policy: Policy, report: Report) -> None:
    """Say whether the settings of lists cannot be read."""
    if policy.lists.mode == "pass":
        return
    hidden = raw_directory.hidden(GLOBAL_CONFIG_DN, sorted(policy.lists.attributes()))
    if hidden:
        found = UNREAD.found(f"not known, or not readable: {', '.join(hidden)}")
        ours = any(map(is_ours, policy.secret_attributes()))
        report.add(found if ours else replace(found, severity=Severity.NOTE))


def check(
    raw_directory: RawDirectory,
    directory: ZimbraDirectory,
    policy: Policy,
    report: Report,
    *,
    published: Callable[[str], str | None] | None = None,
) -> None:
    """Look at every list with settings.

    Args:
        raw_directory: what the bind identity can see.
        directory: resolves and expands.
        policy: the ``[lists]`` section.
        report: what to add to.
        published: returns the DMARC policy of a domain; ``None``: it has none, or that is not known.

    Raises:
        DirectoryUnavailable: no answer.
    """
    ask = published or dmarc_policy
    policies: dict[str, str | None] = {}
    rewrites = False
    for batch in _batches(raw_directory, policy):
        for one in lists_in_use(batch, directory.for_message(seconds=_LONGEST), policy):
            rewrites = rewrites or one.rewrites
            settings = one.settings
            if settings is None:
                continue
            for notice in settings.notices:
                if notice.invalid_value_of:
                    report.add(INVALID.found(notice.text.removeprefix("invalid value of ")))
            name = one.entry.name
            if one.rewrites and (settings.bounces is None or not aligned(settings.bounces.value, name)):
                if name.domain not in policies:
                    policies[name.domain] = ask(name.domain)
                report.add(_unaligned(name.text, name.domain, policies[name.domain]))
            if settings.reply_to is not None and one.raw.is_true(_REPLY_TO_ENABLED.lower()):
                report.add(REPLY_TO.found(f"{name}: {settings.reply_to.value} and Zimbra's", name=name.text))
    if rewrites and report.milters_behind:
        behind = ", ".join(report.milters_behind)
        report.add(VERIFIER.found(f"behind ldapmilter: {behind}", milters=behind))


def _unaligned(name: str, domain: str, published: str | None) -> Finding:
    text = f"{name}: the DMARC policy of {domain} is {published or 'not known'}"
    found = UNALIGNED.found(text, name=name)
    return replace(found, severity=Severity.PROBLEM) if published in _STRICT else found


def _batches(raw_directory: RawDirectory, policy: Policy) -> Iterator[list[RawEntry]]:
    asked = tuple(dict.fromkeys((*ENTRY_ATTRIBUTES, *sorted(policy.attributes()), *READS)))
    raws = raw_directory.pages(raw_directory.base, any_of("objectClass", _LISTS), asked)
    while batch := list(islice(raws, _AT_ONCE)):
        yield batch


def dmarc_policy(domain: str) -> str | None:
    """Return the DMARC policy (RFC 7489) of a domain, or of one above it, as far as this host's resolver says."""
    labels = domain.split(".")
    for start in range(max(1, len(labels) - 1)):
        record = _record("_dmarc." + ".".join(labels[start:]))
        if record is None:
            return None
        if found := _DMARC.search(record):
            below = _DMARC_BELOW.search(record) if start else None
            return (below or found)[1].lower()
    return None


def _record(name: str) -> str | None:
    """Return the TXT records of a name, empty where there are none; ``None``: no resolver can be asked."""
    for program, arguments in (("dig", ["+short", "+time=3", "+tries=1", "TXT"]), ("host", ["-W", "3", "-t", "TXT"])):
        path = shutil.which(program)
        if path is None:
            continue
        try:
            told = subprocess.run(  # noqa: S603 - a domain of the directory, in ACE form
                [path, *arguments, name], capture_output=True, timeout=_DNS_SECONDS, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return None
        return told.decode("ascii", "replace").replace('" "', "")
    return None
