"""From what an administrator types (a name, an address or an id) to the entry, as Zimbra finds it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.support.zmprov.errors import account_error

if TYPE_CHECKING:
    from tests.support.zmprov.store import Entry, Store

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ACCOUNT: Final = (
    "(&(|(zimbraMailDeliveryAddress={0})(zimbraMailAlias={0})(zimbraOldMailAddress={0}))(objectClass=zimbraAccount))"
)
_GROUP: Final = "(&(zimbraMailAlias={0})(|(objectClass=zimbraGroup)(objectClass=zimbraDistributionList)))"


def account(store: Store, key: str) -> Entry:
    """Return an account or resource.

    Raises:
        ServiceError: there is none.
    """
    if _UUID.fullmatch(key):
        found = store.find("(&(zimbraId={0})(objectClass=zimbraAccount))", key)
    else:
        name = key if "@" in key else f"{key}@{store.config().first('zimbraDefaultDomainName')}"
        found = _by_address(store, _ACCOUNT, name)
    if not found:
        raise account_error("NO_SUCH_ACCOUNT", key)
    found[0].name = found[0].first("zimbraMailDeliveryAddress")
    return found[0]


def group(store: Store, key: str) -> Entry:
    """Return a static list or a dynamic group.

    Raises:
        ServiceError: there is none.
    """
    if _UUID.fullmatch(key):
        condition = "(&(zimbraId={0})(|(objectClass=zimbraGroup)(objectClass=zimbraDistributionList)))"
        found = store.find(condition, key)
    else:
        found = _by_address(store, _GROUP, key)
    if not found:
        raise account_error("NO_SUCH_DISTRIBUTION_LIST", key)
    found[0].name = group_name(found[0])
    return found[0]


def group_name(entry: Entry) -> str:
    """Return the address that the DN stands for: a list's aliases look like its name otherwise."""
    first, *rest = entry.dn.split(",")
    host = ".".join(part.partition("=")[2] for part in rest if part.startswith("dc="))
    return f"{first.partition('=')[2]}@{host}"


def cos(store: Store, key: str) -> Entry:
    """Return a COS by name or id.

    Raises:
        ServiceError: there is none.
    """
    found = store.find("(&(|(zimbraId={0})(cn={0}))(objectClass=zimbraCOS))", key, base="cn=cos,cn=zimbra")
    if not found:
        raise account_error("NO_SUCH_COS", key)
    found[0].name = found[0].first("cn")
    return found[0]


def domain(store: Store, key: str) -> Entry:
    """Return a domain by name or id.

    Raises:
        ServiceError: there is none.
    """
    found = store.find("(&(|(zimbraId={0})(zimbraDomainName={0}))(objectClass=zimbraDomain))", key)
    if not found:
        raise account_error("NO_SUCH_DOMAIN", key)
    found[0].name = found[0].first("zimbraDomainName")
    return found[0]


def server(store: Store, key: str) -> Entry:
    """Return a server by name or id.

    Raises:
        ServiceError: there is none.
    """
    found = store.find("(&(|(zimbraId={0})(cn={0}))(objectClass=zimbraServer))", key, base="cn=servers,cn=zimbra")
    if not found:
        raise account_error("NO_SUCH_SERVER", key)
    found[0].name = found[0].first("cn")
    return found[0]


def effective_cos(store: Store, entry: Entry) -> Entry | None:
    """Return the COS of an account: its own, else its domain's default, else the one named default."""
    host = entry.name.rpartition("@")[2]
    domains = store.find("(&(zimbraDomainName={0})(objectClass=zimbraDomain))", host)
    ids = [entry.first("zimbraCOSId"), *(found.first("zimbraDomainDefaultCOSId") for found in domains)]
    for wanted in filter(None, ids):
        found = store.find("(&(zimbraId={0})(objectClass=zimbraCOS))", wanted, base="cn=cos,cn=zimbra")
        if found:
            return found[0]
    return store.read("cn=default,cn=cos,cn=zimbra")


def _by_address(store: Store, condition: str, address: str) -> list[Entry]:
    """Search for an address as typed, then in the domain that its alias domain stands for."""
    found = store.find(condition, address)
    local, _, host = address.rpartition("@")
    if found:
        return found
    aliases = store.find("(&(zimbraDomainName={0})(zimbraDomainType=alias))", host)
    for target in (entry.first("zimbraDomainAliasTargetId") for entry in aliases):
        for entry in store.find("(&(zimbraId={0})(objectClass=zimbraDomain))", target):
            return store.find(condition, f"{local}@{entry.first('zimbraDomainName')}")
    return []
