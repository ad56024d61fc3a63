"""Zimbra's directory as policy asks for it: what an address means and which levels apply to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.address import Address, parse_address
from ldapmilter.directory import groups, sender_rights
from ldapmilter.directory.derived import Derived
from ldapmilter.directory.entries import read_entry
from ldapmilter.directory.loading import Key
from ldapmilter.directory.model import Chain, Entry, Expansion, Holder, Match, Resolution
from ldapmilter.directory.store import Deadline
from ldapmilter.directory.trace import Trace
from ldapmilter.errors import AmbiguousEntry, DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.interface import KeyT, ValueT
    from ldapmilter.directory.loading import CacheKey
    from ldapmilter.directory.model import Version
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.reader import Reader
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.trace import Reads

_NOBODY_BEHIND = Expansion()
_PolicyGroups = dict[str, tuple[Holder, ...]]


class ZimbraDirectory:
    """The directory behind all messages; :meth:`for_message` gives each message its own view."""

    def __init__(
        self,
        reader: Reader,
        limits: GroupLimits,
        *,
        lookup_deadline: float,
        clock: Callable[[], float],
    ) -> None:
        """Make a directory whose every message waits at most ``lookup_deadline`` seconds."""
        self._reader = reader
        self._derived = Derived(reader.cache, clock, is_shared=lambda key: not isinstance(key, str))
        self._limits = limits
        self._lookup_deadline = lookup_deadline
        self._clock = clock

    def for_message(self, *, lenient: bool = False, seconds: float | None = None) -> MessageDirectory:
        """Return the view of one message, whose deadline starts now.

        ``seconds`` is another deadline than ``lookup_deadline``, for work that no mail waits for.
        """
        trace = Trace(Deadline.after(seconds or self._lookup_deadline, self._clock), lenient=lenient)
        return MessageDirectory(self._reader, self._derived, self._limits, trace)

    def everybody(self, seconds: float) -> Iterator[list[RawEntry]]:
        """Return every account and group, page by page and past the cache; a page may take so many seconds.

        An entry may be in it that mail cannot be addressed to: :func:`read_entry` tells.

        Raises:
            DirectoryUnavailable: by the iteration, wherever it breaks off.
        """
        return self._reader.everybody(Deadline.after(seconds, self._clock))

    def count_everybody(self, seconds: float) -> int:
        """Return how many entries :meth:`everybody` is about to go through.

        Raises:
            DirectoryUnavailable: they could not be counted.
        """
        return self._reader.count_everybody(Deadline.after(seconds, self._clock))


class MessageDirectory:
    """One message's view: implements :class:`~ldapmilter.directory.interface.Directory`."""

    def __init__(self, reader: Reader, derived: Derived, limits: GroupLimits, trace: Trace) -> None:
        """Bind a reader to one message's deadline and counts."""
        self._reader = reader
        self._derived = derived
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

    def warm_up(self) -> None:
        """Read what every message needs: the site, and who is in which policy group.

        Raises:
            DirectoryUnavailable: it could not be read.
        """
        if self._site.policy_groups:
            self._policy_groups()

    def hosts(self, domain: str) -> bool:
        """See the interface."""
        return domain in self._site.domains

    def derived(
        self, keys: Collection[KeyT], work_out: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]]
    ) -> dict[KeyT, ValueT]:
        """See the interface."""
        values: dict[KeyT, ValueT] = self.recall(keys)
        missing = [key for key in dict.fromkeys(keys) if key not in values]
        if missing:
            values.update(self.work_out(missing, work_out))
        return values

    def recall(self, keys: Collection[KeyT]) -> dict[KeyT, Any]:
        """See the interface."""
        found = self._derived.recall(keys)
        for recorder in self._trace.recorders:
            for remembered in found.values():
                recorder.update(dict.fromkeys(remembered.reads))
        return {key: found[key].value for key in keys if key in found}

    def work_out(
        self,
        keys: Collection[KeyT],
        make: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]],
        *,
        worth_keeping: Callable[[ValueT], bool] = lambda _value: True,
    ) -> Mapping[KeyT, ValueT]:
        """See the interface."""
        reads: Reads = {}
        changes, failures, stale = self._derived.changes, len(self._trace.failures), self._trace.stale
        self._trace.recorders.append(reads)
        # What was read before, the snapshot of the site above all, counts as read here too.
        self._site_seen = None
        try:
            made = make(keys)
        finally:
            self._trace.recorders.pop()
        if len(self._trace.failures) == failures and self._trace.stale == stale:
            for key, value in made.items():
                if worth_keeping(value):
                    self._derived.remember(key, value, reads, changes)
        return made

    # -- addresses --------------------------------------------------------------------------

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """See the interface."""
        keys = [spelling.key for spelling in self._login_spellings(login)] if login else []
        keys.extend(self._keys_of(addresses))
        if keys:
            self._reader.prefetch(list(dict.fromkeys(keys)), self._trace)

    def _keys_of(self, addresses: Collection[Address]) -> list[str]:
        """Return every key that may hold one of the addresses."""
        return [
            key
            for address in addresses
            if address.is_ascii and self.hosts(address.domain)
            for key, _match in self._candidates(address, own_only=False)
        ]

    def _login_spellings(self, login: str) -> tuple[Address, ...]:
        """Return what a login may be called in the directory, as Zimbra completes it; nothing: nobody's."""
        address = parse_address(login)
        if address is None and "@" not in login and (default := self._site.default_domain):
            address = parse_address(f"{login}@{default}")
        if address is None or not address.is_ascii or not self.hosts(address.domain):
            return ()
        return self._site.spellings(address)

    def login(self, login: str) -> Resolution | None:
        """See the interface."""
        spellings = self._login_spellings(login)
        if not spellings:
            return None
        address, keys = spellings[0], [spelling.key for spelling in spellings]
        found = self._reader.entries(keys, self._trace)
        accounts = _first_accounts(keys, found)
        if not accounts and len(found) == len(keys):
            found = self._reader.entries(keys, self._trace, again=True)
            accounts = _first_accounts(keys, found)
        known = bool(accounts) or len(found) == len(keys)
        if not known:
            self._trace.fail(key for key in keys if key not in found)
        if len(accounts) > 1:
            names = " and ".join(sorted(entry.dn for entry in accounts))
            message = f"two entries answer to the login {login!r}: {names}"
            raise AmbiguousEntry(message)
        return self._resolution(address, accounts, "address", known=known)

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
                    self._trace.fail([key])
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
        holders = {key: Holder(level="cos", raw=raw) for key, raw in found.items() if raw is not None}
        policy_groups = self._policy_groups() if choices and self._site.policy_groups else {}
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

    def _policy_groups(self) -> _PolicyGroups:
        """Return, by the DN of every account in one, the groups whose values apply to their members."""
        key = ("policy groups",)
        return self.derived([key], lambda _keys: {key: self._read_policy_groups(self._site.policy_groups)})[key]

    def _read_policy_groups(self, raws: Collection[RawEntry]) -> _PolicyGroups:
        entries = [entry for raw in raws if (entry := read_entry(raw)) is not None]
        found: dict[str, list[Holder]] = {}
        for entry, expansion in zip(entries, self.expand(entries).values(), strict=True):
            if expansion.truncated:
                if not self._trace.lenient:
                    raise DirectoryUnavailable(expansion.truncated)
                self._trace.failures.append(expansion.truncated)
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
        by_key = {("expansion", entry.version): entry for entry in entries if groups.has_members(entry)}
        found = self.derived(by_key, lambda keys: self._expand({by_key[key].dn: key for key in keys}, by_key))
        behind = {by_key[key].dn: expansion for key, expansion in found.items()}
        return {entry.dn: behind.get(entry.dn, _NOBODY_BEHIND) for entry in entries}

    def _expand(
        self, keys: Mapping[str, tuple[str, Version]], entries: Mapping[tuple[str, Version], Entry]
    ) -> dict[tuple[str, Version], Expansion]:
        lookups = groups.Lookups(
            resolve=self.resolve,
            own=lambda entry: self._resolution(entry.name, (entry,), "address"),
            managed=lambda ids: self._reader.managed_members(ids, self._trace),
            custom=lambda ids: self._reader.custom_members(ids, self._trace),
            together=self._prefetch_behind,
        )
        expanded = groups.expand([entries[key] for key in keys.values()], lookups, self._limits)
        return {keys[dn]: expansion for dn, expansion in expanded.items()}

    def _prefetch_behind(
        self, addresses: Collection[Address], managed: Collection[str], custom: Collection[str]
    ) -> None:
        keys: list[CacheKey] = [*dict.fromkeys(self._keys_of(addresses))]
        keys.extend(Key("managed", name) for name in managed)
        keys.extend(Key("custom", name) for name in custom)
        if managed or custom:  # else it is one search anyway
            self._reader.prefetch(keys, self._trace)

    # -- sender rights ----------------------------------------------------------------------

    def own_mailbox(self, account: Entry) -> Address:
        """See the interface."""
        return sender_rights.canonical_address(account)

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> frozenset[str]:
        """See the interface."""
        cos = next((holder.raw for holder in self.chains([account])[account.dn] if holder.level == "cos"), None)
        keys = frozenset(address.key for address in addresses)
        if sender_rights.may_use_any(account.raw, cos):
            return keys
        allowed = keys & sender_rights.own_addresses(account, self._site)
        others = [address for address in addresses if address.key not in allowed]
        if not others:
            return allowed
        resolved = self._resolve(others, own_only=True)
        granted = {
            address.key
            for address in others
            for entry in resolved[address.key].entries
            if address.key in sender_rights.offered_addresses(entry) and self._is_granted(account, entry)
        }
        # What could not be asked (and is noted as such) is no reason to say no.
        unknown = {address.key for address in others if not resolved[address.key].known}
        return allowed | granted | unknown

    def _is_granted(self, account: Entry, target: Entry) -> bool:
        """Whether an entry lets an account write as it; a deny to the account itself beats every grant."""
        own_id = (account.raw.first("zimbraid") or "").lower()
        domain = self._site.domains.get(account.name.domain)
        domain_id = (domain.raw.first("zimbraid") or "").lower() if domain is not None else ""
        given = list(sender_rights.grants(target))
        if any(grant.denied and grant.kind == "usr" and grant.grantee == own_id for grant in given):
            return False
        positive = [grant for grant in given if not grant.denied]
        direct = {("usr", own_id), ("dom", domain_id)}
        if any((grant.kind, grant.grantee) in direct or grant.kind in {"all", "pub"} for grant in positive):
            return True
        group_ids = {grant.grantee for grant in positive if grant.kind == "grp"}
        if not group_ids:
            return False
        answered = self._reader.by_id(group_ids, self._trace)
        expansions = self.expand([entry for entry in answered.values() if entry is not None]).values()
        members = (member for expansion in expansions for member in expansion.members if not member.by_forward)
        if any(member.resolution.entry == account for member in members):
            return True
        truncated = [expansion.truncated for expansion in expansions if expansion.truncated]
        if truncated and not self._trace.lenient:
            raise DirectoryUnavailable(truncated[0])
        self._trace.failures.extend(truncated)
        return bool(truncated) or len(answered) < len(group_ids)

    # -- mailbox servers --------------------------------------------------------------------

    def names_authenticated_user(self) -> bool:
        """See the interface."""
        config = self._site.config
        return config is not None and config.is_true("zimbrasmtpsendaddauthenticateduser")

    def is_mailbox_host(self, client: str) -> bool:
        """See the interface."""
        names = self._site.mailbox_host_names
        return bool(names) and client in self._reader.mailbox_addresses(names, self._trace)


def _chosen(
    choices: list[Key], found: Mapping[CacheKey, RawEntry | None], holders: Mapping[CacheKey, Holder]
) -> Holder | None:
    """Return the first COS there is; none when it could not be asked whether an earlier one is there."""
    for key in choices:
        if key not in found or key in holders:
            return holders.get(key)
    return None


def _first_accounts(keys: list[str], found: dict[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """Return the accounts of the first key that has any: a direct match beats an alias domain."""
    for key in keys:
        accounts = tuple(entry for entry in found.get(key, ()) if entry.kind == "account")
        if accounts:
            return accounts
    return ()
