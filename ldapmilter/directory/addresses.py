"""From addresses and logins to entries: every spelling that can mean somebody, in delivery's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import Address, parse_address
from ldapmilter.directory.model import Entry, Match, Resolution
from ldapmilter.errors import AmbiguousEntry

if TYPE_CHECKING:
    from collections.abc import Collection

    from ldapmilter.directory.view import View


class Addresses:
    """What addresses mean to one message."""

    def __init__(self, view: View) -> None:
        """Look addresses up through a message's view."""
        self._view = view

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """Look a login and addresses up together; see :meth:`Directory.prefetch`."""
        keys = [spelling.key for spelling in self._login_spellings(login)] if login else []
        keys.extend(self.keys_of(addresses))
        if keys:
            self._view.reader.prefetch(list(dict.fromkeys(keys)), self._view.trace)

    def keys_of(self, addresses: Collection[Address]) -> list[str]:
        """Return every key that may hold one of the addresses, those outside the hosted domains left out."""
        return [
            key
            for address in addresses
            if address.is_ascii and address.domain in self._view.site.domains
            for key, _match in self._candidates(address, own_only=False)
        ]

    def _login_spellings(self, login: str) -> tuple[Address, ...]:
        """Return what a login may be called in the directory, as Zimbra completes it; nothing: nobody's."""
        address = parse_address(login)
        if address is None and "@" not in login and (default := self._view.site.default_domain):
            address = parse_address(f"{login}@{default}")
        if address is None or not address.is_ascii or address.domain not in self._view.site.domains:
            return ()
        return self._view.site.spellings(address)

    def login(self, login: str) -> Resolution | None:
        """Return the account behind a login; see :meth:`Directory.login`."""
        spellings = self._login_spellings(login)
        if not spellings:
            return None
        address, keys = spellings[0], [spelling.key for spelling in spellings]
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
        """Resolve an envelope sender; see :meth:`Directory.sender`."""
        return self.resolve_own([address])[address.key]

    def resolve(self, addresses: Collection[Address]) -> dict[str, Resolution]:
        """Return what each address means; see :meth:`Directory.resolve`."""
        return self._resolve(addresses, own_only=False)

    def resolve_own(self, addresses: Collection[Address]) -> dict[str, Resolution]:
        """Return whose own each address is: as :meth:`resolve`, but never through a catch-all."""
        return self._resolve(addresses, own_only=True)

    def _resolve(self, addresses: Collection[Address], *, own_only: bool) -> dict[str, Resolution]:
        candidates = {
            address.key: (address, self._candidates(address, own_only=own_only))
            for address in addresses
            if address.is_ascii and address.domain in self._view.site.domains
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
        self._view.reader.note(counted, self._view.trace)
        return resolved

    def _candidates(self, address: Address, *, own_only: bool) -> list[tuple[str, Match]]:
        """Return the keys that may hold an address, in the order in which delivery tries them."""
        site = self._view.site
        own, *elsewhere = site.spellings(address)
        tries: list[tuple[str, Match]] = [(own.key, "address")]
        tries.extend((spelling.key, "alias-domain") for spelling in elsewhere)
        if own_only:
            return tries
        if (plain := site.without_extension(address)) is not None:
            tries.extend((spelling.key, "delimiter") for spelling in site.spellings(plain))
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


def _first_accounts(keys: list[str], found: dict[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """Return the accounts of the first key that has any: a direct match beats an alias domain."""
    for key in keys:
        accounts = tuple(entry for entry in found.get(key, ()) if entry.kind == "account")
        if accounts:
            return accounts
    return ()
