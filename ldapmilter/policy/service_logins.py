"""``[identity] service_logins``: logins of devices and relays, which are no account's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import folded_address, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.address import Address

ServiceLogins = dict[str, "Address | None"]
"""By folded login: the account that it stands for; ``None``: no account."""


def read_service_logins(text: str) -> ServiceLogins:
    """Return what an option says: ``LOGIN`` (no account) and ``LOGIN=ADDRESS`` (that account), separated by blanks.

    Raises:
        ValueError: an item is neither, or a login has two meanings.
    """
    found: ServiceLogins = {}
    for item in text.replace(",", " ").split():
        login, stands, name = item.partition("=")
        address = parse_address(name) if stands else None
        if not login or (stands and (address is None or not address.domain)):
            message = f"LOGIN or LOGIN=ADDRESS, separated by blanks ({item!r} is neither)"
            raise ValueError(message)
        key = folded_address(login)
        if found.setdefault(key, address) != address:
            message = f"one meaning for each login ({login!r} has two)"
            raise ValueError(message)
    return found


def is_service(login: str, logins: Mapping[str, Address | None]) -> bool:
    """Whether a login, as the client typed it, is one of these."""
    return bool(logins) and folded_address(login) in logins


def stands_for(login: str, logins: Mapping[str, Address | None]) -> Address | None:
    """Return the account that a service login stands for; ``None``: no account, or it is not a service login."""
    return logins.get(folded_address(login)) if logins else None


def why_unknown(login: str, logins: Mapping[str, Address | None]) -> str:
    """Return why mail waits: the login has no account, or the account it stands for does not exist."""
    if is_service(login, logins):
        account = stands_for(login, logins)
        return f"the login {login!r} stands for {account}, which is no account: [identity] unknown_login = tempfail"
    return f"the login {login!r} resolves to no account: [identity] unknown_login = tempfail"
