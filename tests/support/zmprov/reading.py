"""The commands that read: `ga`, `gc`, `gd`, `gdl`, `gs`, `gcf`, `gacf`, `gaa`, `gac`, `gad`, `gadl`, `gas`, `gg`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.zmprov import lookup
from tests.support.zmprov.attributes import ACCOUNT_INHERITED, DOMAIN_INHERITED, SERVER_INHERITED
from tests.support.zmprov.errors import Usage
from tests.support.zmprov.output import print_attributes, print_entry, print_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from tests.support.zmprov.store import Entry, Store, Values

_LISTS = "(|(objectClass=zimbraGroup)(objectClass=zimbraDistributionList))"


def _flags(arguments: Sequence[str], known: str) -> tuple[set[str], list[str]]:
    rest = list(arguments)
    flags: set[str] = set()
    while rest and rest[0] in {f"-{letter}" for letter in known}:
        flags.add(rest.pop(0)[1])
    return flags, rest


def _one(arguments: Sequence[str], known: str = "") -> tuple[set[str], str, list[str]]:
    flags, rest = _flags(arguments, known)
    if not rest:
        raise Usage
    return flags, rest[0], rest[1:]


def _inherited(source: Entry | None, names: AbstractSet[str]) -> Values:
    return {name: values for name, values in source.values.items() if name.lower() in names} if source else {}


def _account_defaults(store: Store, entry: Entry) -> Values:
    cos = lookup.effective_cos(store, entry)
    return {**_inherited(cos, ACCOUNT_INHERITED), **({"zimbraCOSId": cos.get("zimbraId")} if cos else {})}


def get_account(store: Store, arguments: Sequence[str]) -> None:
    """ga [-e] {name|id} [attr...]."""
    flags, key, wanted = _one(arguments, "e")
    entry = lookup.account(store, key)
    print_entry(entry, wanted, None if "e" in flags else _account_defaults(store, entry))


def get_cos(store: Store, arguments: Sequence[str]) -> None:
    """gc {name|id} [attr...]."""
    _, key, wanted = _one(arguments)
    print_entry(lookup.cos(store, key), wanted)


def get_domain(store: Store, arguments: Sequence[str]) -> None:
    """gd [-e] {name|id} [attr...]."""
    flags, key, wanted = _one(arguments, "e")
    entry = lookup.domain(store, key)
    print_entry(entry, wanted, None if "e" in flags else _inherited(store.config(), DOMAIN_INHERITED))


def get_server(store: Store, arguments: Sequence[str]) -> None:
    """gs [-e] {name|id} [attr...]."""
    flags, key, wanted = _one(arguments, "e")
    entry = lookup.server(store, key)
    print_entry(entry, wanted, None if "e" in flags else _inherited(store.config(), SERVER_INHERITED))


def get_list(store: Store, arguments: Sequence[str]) -> None:
    """gdl {name|id} [attr...]."""
    _, key, wanted = _one(arguments)
    entry = lookup.group(store, key)
    print_group(entry, members(store, entry), wanted)


def get_config(store: Store, arguments: Sequence[str]) -> None:
    """gcf {attr}: no header, and nothing at all where the attribute is not set."""
    if len(arguments) != 1:
        raise Usage
    print_attributes(store.config().values, arguments)


def get_all_config(store: Store, arguments: Sequence[str]) -> None:
    """gacf [attr...]: no header."""
    print_attributes(store.config().values, arguments)


def members(store: Store, entry: Entry) -> list[str]:
    """Return the addresses in a static list, or behind a dynamic group."""
    if not entry.has_class("zimbraGroup"):
        return sorted(entry.get("zimbraMailForwardingAddress"))
    found = [store.read(dn) for dn in entry.get("member")]
    # An account is a member by its own address, whatever it forwards to; the unit holds those of others.
    of_unit, of_account = "zimbraMailForwardingAddress", "zimbraMailDeliveryAddress"
    return sorted(
        address
        for held in found
        if held
        for address in held.get(of_unit if held.has_class("zimbraGroupStaticUnit") else of_account)
    )


def _all(
    store: Store,
    arguments: Sequence[str],
    condition: str,
    name: Callable[[Entry], str],
    inherited: Callable[[Entry], Values],
) -> None:
    flags, wanted = _flags(arguments, "ve")
    for entry in sorted(store.find(condition), key=name):
        entry.name = name(entry)
        if "v" in flags:
            print_entry(entry, wanted, None if "e" in flags else inherited(entry))
        else:
            print(entry.name)


def get_all_accounts(store: Store, arguments: Sequence[str]) -> None:
    """gaa [-v] [-e] [domain]."""
    flags, rest = _flags(arguments, "ve")
    condition = "(&(objectClass=zimbraAccount)(zimbraMailDeliveryAddress=*))"
    found = store.find(condition)
    for entry in sorted(found, key=lambda held: held.first("zimbraMailDeliveryAddress")):
        entry.name = entry.first("zimbraMailDeliveryAddress")
        if rest and not entry.name.lower().endswith(f"@{rest[0].lower()}"):
            continue
        if "v" in flags:
            print_entry(entry, [], None if "e" in flags else _account_defaults(store, entry))
        else:
            print(entry.name)


def get_all_cos(store: Store, arguments: Sequence[str]) -> None:
    """gac [-v]."""
    _all(store, arguments, "(objectClass=zimbraCOS)", lambda entry: entry.first("cn"), lambda _: {})


def get_all_domains(store: Store, arguments: Sequence[str]) -> None:
    """gad [-v] [-e] [attr...]."""
    condition = "(objectClass=zimbraDomain)"
    config = _inherited(store.config(), DOMAIN_INHERITED)
    _all(store, arguments, condition, lambda entry: entry.first("zimbraDomainName"), lambda _: config)


def get_all_servers(store: Store, arguments: Sequence[str]) -> None:
    """gas [-v] [-e]."""
    config = _inherited(store.config(), SERVER_INHERITED)
    _all(store, arguments, "(objectClass=zimbraServer)", lambda entry: entry.first("cn"), lambda _: config)


def get_all_lists(store: Store, arguments: Sequence[str]) -> None:
    """gadl [-v] [domain]: lists of both kinds."""
    flags, rest = _flags(arguments, "v")
    for entry in sorted(store.find(_LISTS), key=lookup.group_name):
        entry.name = lookup.group_name(entry)
        if rest and not entry.name.endswith(f"@{rest[0]}"):
            continue
        if "v" in flags:
            print_group(entry, members(store, entry), [])
        else:
            print(entry.name)


def get_grants(store: Store, arguments: Sequence[str]) -> None:
    """gg -t {type} [{name}]: of the types that the scripts ask for, `global` and `dl`."""
    if len(arguments) < 2 or arguments[0] != "-t":
        raise Usage
    if arguments[1] == "global":
        entry, name = store.read("cn=globalgrant,cn=zimbra"), "globalacltarget"
    elif arguments[1] == "dl" and len(arguments) == 3:
        entry = lookup.group(store, arguments[2])
        name = entry.name
    else:
        raise Usage
    columns = "{:<12} {:<36} {:<30} {:<12} {:<36} {:<30} {}"
    print(
        columns.format("target type", "target id", "target name", "grantee type", "grantee id", "grantee name", "right")
    )
    for value in entry.get("zimbraACE") if entry else []:
        grantee, kind, right = value.rsplit(" ", 2)
        print(columns.format(arguments[1], entry.first("zimbraId") if entry else "", name, kind, grantee, "", right))
