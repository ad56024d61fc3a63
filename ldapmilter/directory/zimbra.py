"""Zimbra's directory as policy asks for it: what an address means and which levels apply to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import Address, parse_address
from ldapmilter.directory import groups
from ldapmilter.directory.model import Chain, Entry, Expansion, Holder, Match, Resolution
from ldapmilter.directory.reader import Key, Reader, Trace
from ldapmilter.directory.store import Deadline
from ldapmilter.errors import AmbiguousEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.site import Site


class ZimbraDirectory:
    """The directory behind all messages; :meth:`for_message` gives each message its own view."""

    def __init__(
        self, reader: Reader, limits: GroupLimits, *, lookup_deadline: float, clock: Callable[[], float]
    ) -> None:
        """Make a directory whose every message waits at most ``lookup_deadline`` seconds."""
        self._reader = reader
        self._limits = limits
        self._lookup_deadline = lookup_deadline
        self._clock = clock

    def for_message(self, *, lenient: bool = False) -> MessageDirectory:
        """Return the view of one message, whose deadline starts now."""
        trace = Trace(Deadline.after(self._lookup_deadline, self._clock), lenient=lenient)
        return MessageDirectory(self._reader, self._limits, trace)


class MessageDirectory:
    """One message's view: implements :class:`~ldapmilter.directory.interface.Directory`."""

    def __init__(self, reader: Reader, limits: GroupLimits, trace: Trace) -> None:
        """Bind a reader to one message's deadline and counts."""
        self._reader = reader
        self._limits = limits
        self._trace = trace
        self._site_seen: Site | None = None

    @property
    def searches(self) -> int:
        """See the interface."""
        return self._trace.searches

    @property
    def stale(self) -> bool:
        """See the interface."""
        return self._trace.stale

    @property
    def failures(self) -> tuple[str, ...]:
        """See the interface."""
        return tuple(dict.fromkeys(self._trace.failures))

    @property
    def _site(self) -> Site:
        # One snapshot per message: a domain must not come or go between two of its steps.
        if self._site_seen is None:
            self._site_seen = self._reader.site(self._trace)
        return self._site_seen

    def hosts(self, domain: str) -> bool:
        """See the interface."""
        return domain in self._site.domains

    # -- addresses --------------------------------------------------------------------------

    def login(self, login: str) -> Resolution | None:
        """See the interface."""
        address = parse_address(login)
        if address is None and "@" not in login and (default := self._site.default_domain):
            address = parse_address(f"{login}@{default}")
        if address is None or not self.hosts(address.domain):
            return None
        keys = [spelling.key for spelling in self._site.spellings(address)]
        found = self._reader.entries(keys, self._trace)
        accounts = _first_accounts(keys, found)
        if not accounts and found:
            found = self._reader.entries(keys, self._trace, past_negative=True)
            accounts = _first_accounts(keys, found)
        if len(accounts) > 1:
            names = " and ".join(sorted(entry.dn for entry in accounts))
            message = f"two entries answer to the login {login!r}: {names}"
            raise AmbiguousEntry(message)
        return self._resolution(address, accounts, "address", known=len(found) == len(keys))

    def sender(self, address: Address) -> Resolution:
        """See the interface."""
        return self._resolve([address], own_only=True)[address.key]

    def resolve(self, addresses: Collection[Address]) -> dict[str, Resolution]:
        """See the interface."""
        return self._resolve(addresses, own_only=False)

    def _resolve(self, addresses: Collection[Address], *, own_only: bool) -> dict[str, Resolution]:
        candidates = {
            address.key: (address, self._candidates(address, own_only=own_only))
            for address in addresses
            if address.is_ascii and self.hosts(address.domain)
        }
        keys = dict.fromkeys(key for _, tries in candidates.values() for key, _ in tries)
        found = self._reader.entries(keys, self._trace) if keys else {}
        resolved: dict[str, Resolution] = {}
        for address in addresses:
            _, tries = candidates.get(address.key, (address, ()))
            known = True
            entries: tuple[Entry, ...] = ()
            match: Match = "address"
            for key, match in tries:  # noqa: B007 - the match of the entries that were found
                if key not in found:
                    known = False
                    break
                entries = found[key]
                if entries:
                    break
            resolved[address.key] = self._resolution(address, entries, match if entries else "address", known=known)
        return resolved

    def _candidates(self, address: Address, *, own_only: bool) -> list[tuple[str, Match]]:
        """Return the keys that may hold an address, in the order in which delivery tries them."""
        site = self._site
        own, *elsewhere = site.spellings(address)
        tries: list[tuple[str, Match]] = [(own.key, "address")]
        tries.extend((spelling.key, "alias-domain") for spelling in elsewhere)
        if own_only:
            return tries
        if (plain := site.without_extension(address)) is not None:
            tries.extend((spelling.key, "delimiter") for spelling in site.spellings(plain))
        tries.extend((f"@{spelling.domain}", "catch-all") for spelling in (own, *elsewhere))
        return tries

    def _resolution(
        self, address: Address, entries: tuple[Entry, ...], match: Match, *, known: bool = True
    ) -> Resolution:
        domain = self._site.local_domain(address.domain)
        return Resolution(
            address=address,
            entries=entries,
            match=match,
            hosted_domain=domain.name if domain is not None else None,
            known=known,
        )

    # -- levels -----------------------------------------------------------------------------

    def chains(self, entries: Collection[Entry]) -> dict[str, Chain]:
        """See the interface."""
        choices = {entry.dn: self._cos_choices(entry) for entry in entries if entry.kind == "account"}
        keys = dict.fromkeys(key for tries in choices.values() for key in tries)
        found = self._reader.cos(keys, self._trace) if keys else {}
        chains: dict[str, Chain] = {}
        for entry in entries:
            own = Holder(level="account" if entry.kind == "account" else "group", raw=entry.raw)
            cos = next((found[key] for key in choices.get(entry.dn, ()) if found.get(key) is not None), None)
            levels = [own] if cos is None else [own, Holder(level="cos", raw=cos)]
            chains[entry.dn] = (*levels, *self.domain_chain(entry.name.domain))
        return chains

    def _cos_choices(self, account: Entry) -> list[Key]:
        """Return the COSes of an account in the order in which Zimbra tries them (Provisioning.getCOS).

        Its own; unset or dangling, the default of the domain of its name; else the one called
        ``default``. External virtual accounts have a pair of defaults of their own.
        """
        external = account.raw.is_true("zimbraisexternalvirtualaccount")
        domain = self._site.domains.get(account.name.domain)
        attribute = "zimbradomaindefaultexternalusercosid" if external else "zimbradomaindefaultcosid"
        ids = [account.raw.first("zimbracosid"), domain.raw.first(attribute) if domain is not None else None]
        keys = [Key("cos", cos_id.lower()) for cos_id in ids if cos_id]
        return [*keys, Key("cos-name", "defaultexternal" if external else "default")]

    def domain_chain(self, hosted_domain: str) -> Chain:
        """See the interface."""
        site = self._site
        domain = site.local_domain(hosted_domain)
        levels: list[Holder] = []
        if domain is not None:
            levels.append(Holder(level="domain", raw=domain.raw))
        if site.config is not None:
            levels.append(Holder(level="global", raw=site.config))
        return tuple(levels)

    # -- groups -----------------------------------------------------------------------------

    def expand(self, entries: Collection[Entry]) -> dict[str, Expansion]:
        """See the interface."""
        lookups = groups.Lookups(
            resolve=self.resolve,
            own=lambda entry: self._resolution(entry.name, (entry,), "address"),
            managed=lambda ids: self._reader.managed_members(ids, self._trace),
            custom=lambda ids: self._reader.custom_members(ids, self._trace),
        )
        return groups.expand(entries, lookups, self._limits)

    # -- mailbox servers --------------------------------------------------------------------

    def is_mailbox_host(self, client: str) -> bool:
        """See the interface."""
        names = self._site.mailbox_host_names
        return bool(names) and client in self._reader.mailbox_addresses(names, self._trace)


def _first_accounts(keys: list[str], found: dict[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """Return the accounts of the first key that has any: a direct match beats an alias domain."""
    for key in keys:
        accounts = tuple(entry for entry in found.get(key, ()) if entry.kind == "account")
        if accounts:
            return accounts
    return ()
