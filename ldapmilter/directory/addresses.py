"""From addresses and logins to entries: every spelling that can mean an entry, in delivery's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import Address, stored_address
from ldapmilter.directory.answering import note
from ldapmilter.directory.model import Entry, Match, Resolution
from ldapmilter.errors import AmbiguousEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ldapmilter.directory.view import View

_OWN: frozenset[Match] = frozenset({"address", "alias-domain"})
_SENDERS: frozenset[Match] = _OWN | {"delimiter"}
_DELIVERED: frozenset[Match] = _SENDERS | {"catch-all"}


class Addresses:
    """What addresses mean to one message."""

    def __init__(self, view: View) -> None:
        """Look addresses up through a message's view."""
        self._view = view

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """Look a login and addresses up together; see :meth:`Directory.prefetch`."""
        keys = _search_keys(self._login_spellings(login)) if login else []
        keys.extend(self.keys_of(addresses))
        if keys:
            self._view.reader.prefetch(list(dict.fromkeys(keys)), self._view.trace)

    def keys_of(self, addresses: Collection[Address]) -> list[str]:
        """Return every key that may hold one of the addresses, those outside the hosted domains left out."""
        return [
            key
            for address in map(self._view.site.delivered_to, addresses)
            if address.domain in self._view.site.domains
            for key, _match in self._candidates(address, _DELIVERED)
        ]

    def _login_spellings(self, login: str) -> tuple[Address, ...]:
        """Return what a login may be called in the directory, as Zimbra completes it; empty: it matches no account."""
        address = stored_address(login)
        if address is None and "@" not in login and (default := self._view.site.default_domain):
            address = stored_address(f"{login}@{default}")
        if address is None or not address.is_readable or address.domain not in self._view.site.domains:
            return ()
        return self._view.site.spellings(address)

    def login(self, login: str) -> Resolution | None:
        """Return the account behind a login; see :meth:`Directory.login`."""
        spellings = self._login_spellings(login)
        if not spellings:
            return None
        address, keys = spellings[0], _search_keys(spellings)
        found = self._view.reader.entries(keys, self._view.trace)
        accounts = _first_accounts(keys, found)
        if not accounts and len(found) == len(keys):
            found = self._view.reader.entries(keys, self._view.trace, again=True)
            accounts = _first_accounts(keys, found)
        known = bool(accounts) or len(found) == len(keys)
        if not known:
            self._view.trace.fail(key for key in keys if key not in found)
        if len(accounts) > 1:
            names = " and ".join(sorted(entry.dn for entry in accounts))
            message = f"two entries answer to the login {login!r}: {names}"
            raise AmbiguousEntry(message)
        return self.resolution(address, accounts, "address", known=known)

    def sender(self, address: Address) -> Resolution:
        """Resolve an envelope sender; see :meth:`Directory.sender`.

        With an extension it is its account's all the same, and means what the account's name means.
        """
        found = self._resolve([address], _SENDERS)[address.key]
        if found.match == "delimiter" and found.entry is not None:
            return self.resolution(found.entry.name, found.entries, "address")
        return found

    def resolve(self, addresses: Collection[Address]) -> dict[str, Resolution]:
        """Return what each address means; see :meth:`Directory.resolve`."""
        meant = {address.key: self._view.site.delivered_to(address) for address in addresses}
        found = self._resolve(dict.fromkeys(meant.values()), _DELIVERED)
        return {key: found[address.key] for key, address in meant.items()}

    def resolve_own(self, addresses: Collection[Address]) -> dict[str, Resolution]:
        """Return whose own each address is, an extension cut off: as :meth:`resolve`, but never by a catch-all."""
        return self._resolve(addresses, _SENDERS)

    def _resolve(self, addresses: Collection[Address], ways: frozenset[Match]) -> dict[str, Resolution]:
        candidates = {
            address.key: (address, [one for one in self._candidates(address, ways) if one[1] in ways])
            for address in addresses
            if address.domain in self._view.site.domains
        }
        keys = dict.fromkeys(key for _, tries in candidates.values() for key, _ in tries)
        # Whoever has an address of their own does not change when the domain gets a catch-all, which
        # is asked for in the same search and mostly absent, so that it is asked for again every minute.
        found = self._view.reader.entries(keys, self._view.trace, noted=False) if keys else {}
        counted: list[str] = []
        resolved: dict[str, Resolution] = {}
        for address in addresses:
            _, tries = candidates.get(address.key, (address, ()))
            known = True
            entries: tuple[Entry, ...] = ()
            match: Match = "address"
            for key, match in tries:  # noqa: B007 - the match of the entries that were found
                counted.append(key)
                if key not in found:
                    known = False
                    self._view.trace.fail([key])
                    break
                entries = found[key]
                if entries:
                    break
            resolved[address.key] = self.resolution(address, entries, match if entries else "address", known=known)
        note(counted, self._view.trace)
        return resolved

    def _candidates(self, address: Address, ways: frozenset[Match]) -> list[tuple[str, Match]]:
        """Return the keys that may hold an address, in the order in which delivery tries them.

        What the directory cannot be asked for (:attr:`Address.is_readable`) is left out. Its extension
        is cut off all the same, and the domain's catch-all takes it like anything else.
        """
        site = self._view.site
        own, *elsewhere = site.spellings(address)
        readdressed = ways is _DELIVERED
        if readdressed:
            elsewhere.extend(site.canonical(address))
        tries: list[tuple[str, Match]] = [(key, "address") for key in _search_keys([own])]
        tries.extend((key, "alias-domain") for key in _search_keys(elsewhere))
        if (plain := site.without_extension(address)) is not None:
            spellings = (*site.spellings(plain), *(site.canonical(plain) if readdressed else ()))
            tries.extend((key, "delimiter") for key in _search_keys(spellings))
        tries.extend((f"@{spelling.domain}", "catch-all") for spelling in (own, *elsewhere))
        return tries

    def resolution(
        self, address: Address, entries: tuple[Entry, ...], match: Match, *, known: bool = True
    ) -> Resolution:
        """Put together what an address means."""
        domain = self._view.site.local_domain(address.domain)
        return Resolution(
            address=address,
            entries=entries,
            match=match,
            hosted_domain=domain.name if domain is not None else None,
            known=known,
        )


def _search_keys(spellings: Iterable[Address]) -> list[str]:
    return [key for spelling in spellings if spelling.is_readable for key in spelling.search_keys]


def _first_accounts(keys: list[str], found: dict[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """Return the accounts of the first key that has any: a direct match beats an alias domain."""
    for key in keys:
        accounts = tuple(entry for entry in found.get(key, ()) if entry.kind == "account")
        if accounts:
            return accounts
    return ()
