"""The commands that change entries, and those that make and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import builders
from tests.support.names import account_dn, cos_dn, domain_dn
from tests.support.zmprov import lookup
from tests.support.zmprov.attributes import check, parse_changes
from tests.support.zmprov.errors import ServiceError, Usage, account_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.record import Record
    from tests.support.zmprov.store import Entry, Store

_STATUS_OFF = frozenset({"closed", "pending"})


def _modify(store: Store, find: Callable[[Store, str], Entry], arguments: Sequence[str]) -> None:
    if len(arguments) < 3 or len(arguments) % 2 == 0:
        raise Usage
    entry = find(store, arguments[0])
    changes = parse_changes(arguments[1:])
    check(changes)
    for name in ("zimbraAccountStatus", "zimbraDomainStatus"):
        for status in changes.get(name, []):
            changes["zimbraMailStatus"] = ["disabled" if status in _STATUS_OFF else "enabled"]
    store.modify(entry, changes)


def modify_account(store: Store, arguments: Sequence[str]) -> None:
    """ma {name|id} {attr value}..."""
    _modify(store, lookup.account, arguments)


def modify_cos(store: Store, arguments: Sequence[str]) -> None:
    """mc {name|id} {attr value}..."""
    _modify(store, lookup.cos, arguments)


def modify_domain(store: Store, arguments: Sequence[str]) -> None:
    """md {name|id} {attr value}..."""
    _modify(store, lookup.domain, arguments)


def modify_list(store: Store, arguments: Sequence[str]) -> None:
    """mdl {name|id} {attr value}..."""
    _modify(store, lookup.group, arguments)


def modify_server(store: Store, arguments: Sequence[str]) -> None:
    """ms {name|id} {attr value}..."""
    _modify(store, lookup.server, arguments)


def modify_config(store: Store, arguments: Sequence[str]) -> None:
    """mcf {attr value}..."""
    _modify(store, lambda held, _: held.config(), ["config", *arguments])


def set_account_cos(store: Store, arguments: Sequence[str]) -> None:
    """sac {account} {cos}."""
    if len(arguments) != 2:
        raise Usage
    entry, cos = lookup.account(store, arguments[0]), lookup.cos(store, arguments[1])
    store.modify(entry, {"zimbraCOSId": cos.get("zimbraId")})


def _extra(store: Store, kind: str, record: Record) -> list[str]:
    """Return the classes that a new entry gets: Zimbra's own and those the global config adds."""
    own = [name for name in record.values("objectClass") if name not in {"amavisAccount", "ldapMilterPolicy"}]
    return own + store.config().get(f"zimbra{kind}ExtraObjectClass")


def _with(arguments: Sequence[str], classes: list[str]) -> dict[str, list[str]]:
    """Return the attributes given for a new entry beside its classes; `+objectClass` adds to these."""
    changes = parse_changes(arguments)
    check(changes, creating=True)
    values = {name: texts for name, texts in changes.items() if name[:1] not in "+-"}
    more = [text for name, texts in changes.items() if name.lower() == "+objectclass" for text in texts]
    classes = values.pop("objectClass", classes)
    return {**values, "objectClass": [*classes, *(name for name in more if name not in classes)]}


def create_account(store: Store, arguments: Sequence[str]) -> None:
    """ca {address} {password} {attr value}..."""
    if len(arguments) < 2:
        raise Usage
    address = arguments[0].lower()
    lookup.domain(store, address.rpartition("@")[2])
    if store.find("(mail={0})", address):
        raise account_error("ACCOUNT_EXISTS", address)
    (record,) = builders.account(address, userPassword=arguments[1])
    store.add_record(record, _with(arguments[2:], _extra(store, "Account", record)))
    print(record.values("zimbraId")[0])


def create_cos(store: Store, arguments: Sequence[str]) -> None:
    """cc {name} {attr value}...: every attribute of the default COS is copied, its classes are not."""
    if not arguments:
        raise Usage
    if store.read(cos_dn(arguments[0])):
        raise account_error("COS_EXISTS", arguments[0])
    (record,) = builders.cos(arguments[0])
    default = lookup.cos(store, "default")
    own = {"objectclass", "cn", "zimbraid", "zimbracreatetimestamp"}
    copied = {name: values for name, values in default.values.items() if name.lower() not in own}
    store.add_record(record, {**copied, **_with(arguments[1:], _extra(store, "Cos", record))})
    print(record.values("zimbraId")[0])


def _create_domain(store: Store, records: Sequence[Record], name: str, arguments: Sequence[str]) -> None:
    dn = domain_dn(name)
    for record in records:
        if record.dn == dn:
            store.add_record(record, _with(arguments, _extra(store, "Domain", record)))
            print(record.values("zimbraId")[0])
        elif store.read(record.dn) is None:
            store.add_record(record)


def create_domain(store: Store, arguments: Sequence[str]) -> None:
    """cd {name} {attr value}..."""
    if not arguments:
        raise Usage
    if store.find("(zimbraDomainName={0})", arguments[0]):
        raise account_error("DOMAIN_EXISTS", arguments[0])
    _create_domain(store, builders.domain(arguments[0]), arguments[0], arguments[1:])


def create_alias_domain(store: Store, arguments: Sequence[str]) -> None:
    """cad {alias} {target} {attr value}...: the name resolves, but no mail is mapped."""
    if len(arguments) < 2:
        raise Usage
    target = lookup.domain(store, arguments[1])
    records = builders.alias_domain(
        arguments[0], target.name, forwarding=False, zimbraDomainAliasTargetId=target.first("zimbraId")
    )
    _create_domain(store, records, arguments[0], arguments[2:])


def _create_group(store: Store, records: Sequence[Record], arguments: Sequence[str]) -> None:
    address = arguments[0].lower()
    lookup.domain(store, address.rpartition("@")[2])
    if store.find("(mail={0})", address):
        raise account_error("DISTRIBUTION_LIST_EXISTS", address)
    first, *units = records
    store.add_record(first, _with(arguments[1:], first.values("objectClass")))
    for unit in units:
        store.add_record(unit)
    print(first.values("zimbraId")[0])


def create_list(store: Store, arguments: Sequence[str]) -> None:
    """cdl {address} {attr value}...: no extra class is added to lists of either kind."""
    if not arguments:
        raise Usage
    _create_group(store, builders.static_list(arguments[0].lower(), []), arguments)


def create_dynamic_list(store: Store, arguments: Sequence[str]) -> None:
    """cddl {address} {attr value}..."""
    if not arguments:
        raise Usage
    _create_group(store, builders.dynamic_group(arguments[0].lower()), arguments)


def add_members(store: Store, arguments: Sequence[str]) -> None:
    """adlm {list} {member}..."""
    _change_members(store, arguments, "+")


def remove_members(store: Store, arguments: Sequence[str]) -> None:
    """rdlm {list} {member}..."""
    _change_members(store, arguments, "-")


def _change_members(store: Store, arguments: Sequence[str], sign: str) -> None:
    if len(arguments) < 2:
        raise Usage
    entry, addresses = lookup.group(store, arguments[0]), [address.lower() for address in arguments[1:]]
    if not entry.has_class("zimbraGroup"):
        held = {address.lower() for address in entry.get("zimbraMailForwardingAddress")}
        missing = [address for address in addresses if address not in held]
        if sign == "-" and missing:
            raise account_error("NO_SUCH_MEMBER", ",".join(missing))
        store.modify(entry, {f"{sign}zimbraMailForwardingAddress": addresses})
        return
    for address in addresses:
        try:
            member = lookup.account(store, address)
        except ServiceError:
            unit = store.read(f"cn=external,{entry.dn}")
            if unit is not None:
                store.modify(unit, {f"{sign}zimbraMailForwardingAddress": [address]})
            continue
        store.modify(member, {f"{sign}zimbraMemberOf": entry.get("zimbraId")})


def add_alias(store: Store, arguments: Sequence[str]) -> None:
    """aaa {account} {alias}."""
    if len(arguments) != 2:
        raise Usage
    entry, alias = lookup.account(store, arguments[0]), arguments[1].lower()
    if store.find("(mail={0})", alias):
        raise account_error("ACCOUNT_EXISTS", alias)
    store.add_record(builders.alias_entry(alias, entry.first("zimbraId")))
    store.modify(entry, {"+zimbraMailAlias": [alias], "+mail": [alias]})


def remove_alias(store: Store, arguments: Sequence[str]) -> None:
    """raa {account} {alias}."""
    if len(arguments) != 2:
        raise Usage
    entry, alias = lookup.account(store, arguments[0]), arguments[1].lower()
    store.modify(entry, {"-zimbraMailAlias": [alias], "-mail": [alias]})
    store.delete(account_dn(alias))


def delete_account(store: Store, arguments: Sequence[str]) -> None:
    """da {name|id}."""
    _delete(store, lookup.account, arguments)


def delete_cos(store: Store, arguments: Sequence[str]) -> None:
    """dc {name|id}."""
    _delete(store, lookup.cos, arguments)


def delete_list(store: Store, arguments: Sequence[str]) -> None:
    """ddl {name|id}."""
    _delete(store, lookup.group, arguments)


def _delete(store: Store, find: Callable[[Store, str], Entry], arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        raise Usage
    store.delete(find(store, arguments[0]).dn)
