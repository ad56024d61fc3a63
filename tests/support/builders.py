"""Builders for directory objects in the shape that Zimbra's provisioning gives them.

Each takes the attributes that matter to a test as keywords and fills in what Zimbra always
writes: the right DN, classes and mandatory attributes, alias entries, the two units of a
managed group.  A keyword replaces what the builder would have written; None leaves the
attribute out.  An entry with an `ldapMilter...` attribute gets the class that allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.support.identities import ADMIN_DN
from tests.support.names import account_dn, cos_dn, domain_dn, group_dn, zimbra_id
from tests.support.record import Record

Value = str | bytes | bool | int | Sequence[str | bytes] | None

USER_PASSWORD: Final = "user-secret"


def _texts(value: Value) -> list[str | bytes]:
    if value is None:
        return []
    if isinstance(value, bool):
        return ["TRUE" if value else "FALSE"]
    if isinstance(value, int):
        return [str(value)]
    return [value] if isinstance(value, str | bytes) else list(value)


def record(
    dn: str,
    classes: Sequence[str],
    written: dict[str, Value],
    wanted: dict[str, Value],
    *,
    filler: bool = False,
) -> Record:
    """Return an entry: what the builder writes, overruled by what the test wants."""
    spelled = {name.lower(): name for name in written}
    values = dict(written)
    for name, value in wanted.items():
        values[spelled.get(name.lower(), name)] = value
    policy = any(_texts(values[name]) for name in values if name.startswith("ldapMilter"))
    lines: list[tuple[str, str | bytes]] = [("objectClass", cls) for cls in classes]
    if policy:
        lines.append(("objectClass", "ldapMilterPolicy"))
    lines += [(name, text) for name, value in values.items() for text in _texts(value)]
    return Record(dn, tuple(lines), filler)


def container(dn: str) -> Record:
    """Return an organizationalRole that only holds others (`ou=people`, `cn=cos`)."""
    attribute, _, name = dn.partition(",")[0].partition("=")
    written: dict[str, Value] = {"cn": name}
    if attribute == "ou":
        written["ou"] = name
    return record(dn, ["organizationalRole"], written, {}, filler=True)


def domain(name: str, **attrs: Value) -> list[Record]:
    """Return a local domain, its missing parents, and its two trees."""
    dn = domain_dn(name)
    label, _, parents = name.lower().partition(".")
    records: list[Record] = []
    while parents:
        parent = parents.partition(".")[0]
        classes = ["dcObject", "organization"]
        written: dict[str, Value] = {"dc": parent, "o": f"{parents} domain"}
        records.append(record(domain_dn(parents), classes, written, {}, filler=True))
        parents = parents.partition(".")[2]
    records.append(
        record(
            dn,
            ["dcObject", "organization", "zimbraDomain", "amavisAccount"],
            {
                "dc": label,
                "o": f"{name} domain",
                "zimbraId": zimbra_id("domain", name),
                "zimbraDomainName": name.lower(),
                "zimbraDomainType": "local",
                "zimbraDomainStatus": "active",
                "zimbraMailStatus": "enabled",
            },
            attrs,
        )
    )
    return [*records, container(f"ou=people,{dn}"), container(f"cn=groups,{dn}")]


def alias_domain(name: str, target: str, *, forwarding: bool = True, **attrs: Value) -> list[Record]:
    """Return a domain whose addresses are those of `target`.

    Without `forwarding` it is as Zimbra's own command leaves it: the name resolves, but
    Postfix has no mapping for the mail.
    """
    written: dict[str, Value] = {
        "zimbraDomainType": "alias",
        "zimbraDomainAliasTargetId": zimbra_id("domain", target),
        "zimbraMailCatchAllAddress": f"@{name}",
        "zimbraMailCatchAllForwardingAddress": f"@{target}" if forwarding else None,
    }
    return domain(name, **{**written, **attrs})


def account(
    address: str,
    *,
    cos_id: str | None = None,
    aliases: Sequence[str] = (),
    **attrs: Value,
) -> list[Record]:
    """Return an account and the entries that reserve the names of its aliases."""
    return _account(address, [], {"zimbraCOSId": cos_id, **attrs}, aliases)


def _account(
    address: str, classes: Sequence[str], attrs: dict[str, Value], aliases: Sequence[str] = ()
) -> list[Record]:
    local = address.rpartition("@")[0]
    written: dict[str, Value] = {
        "uid": local.lower(),
        "cn": local,
        "sn": local,
        "mail": [address, *aliases],
        "zimbraId": zimbra_id("account", address),
        "zimbraAccountStatus": "active",
        "zimbraMailStatus": "enabled",
        "zimbraMailDeliveryAddress": address,
        "zimbraMailAlias": list(aliases),
        "zimbraMailHost": "mbox1.example.test",
        "zimbraMailTransport": "lmtp:mbox1.example.test:7025",
        "userPassword": USER_PASSWORD,
    }
    all_classes = ["inetOrgPerson", "zimbraAccount", *classes, "amavisAccount"]
    entry = record(account_dn(address), all_classes, written, attrs)
    target = entry.values("zimbraId")[0]
    return [entry, *(alias_entry(alias, target) for alias in aliases)]


def alias_entry(address: str, target_id: str) -> Record:
    """Return the entry that keeps the name of an alias from being used twice."""
    written: dict[str, Value] = {
        "uid": address.lower().rpartition("@")[0],
        "zimbraId": zimbra_id("alias", address),
        "zimbraAliasTargetId": target_id,
    }
    return record(account_dn(address), ["zimbraAlias"], written, {})


def resource(address: str, **attrs: Value) -> list[Record]:
    """Return a calendar resource: an account with a class and a display name more."""
    written: dict[str, Value] = {
        "displayName": address.rpartition("@")[0],
        "zimbraCalResType": "Location",
        "zimbraAccountCalendarUserType": "RESOURCE",
    }
    return _account(address, ["zimbraCalendarResource"], {**written, **attrs})


def static_list(address: str, members: Iterable[str], *, aliases: Sequence[str] = (), **attrs: Value) -> list[Record]:
    """Return a distribution list; its own address stands among its zimbraMailAlias values."""
    written: dict[str, Value] = {
        "uid": address.lower().rpartition("@")[0],
        "mail": [address, *aliases],
        "zimbraId": zimbra_id("list", address),
        "zimbraMailAlias": [address, *aliases],
        "zimbraMailStatus": "enabled",
        "zimbraMailForwardingAddress": list(members),
    }
    classes = ["zimbraDistributionList", "zimbraMailRecipient"]
    entry = record(account_dn(address), classes, written, attrs)
    target = entry.values("zimbraId")[0]
    return [entry, *(alias_entry(alias, target) for alias in aliases)]


def _group(address: str, aliases: Sequence[str], written: dict[str, Value]) -> dict[str, Value]:
    return {
        "cn": address.lower().rpartition("@")[0],
        "mail": [address, *aliases],
        "zimbraId": zimbra_id("group", address),
        "zimbraMailAlias": [address, *aliases],
        "zimbraMailStatus": "enabled",
        "dgIdentity": ADMIN_DN,
        **written,
    }


def dynamic_group(
    address: str, *, external: Iterable[str] = (), aliases: Sequence[str] = (), **attrs: Value
) -> list[Record]:
    """Return a managed dynamic group and its units.

    An account is a member by `zimbraMemberOf=zimbra_id("group", address)`; members from
    outside are the static unit's forwarding addresses.
    """
    local, _, host = address.rpartition("@")
    dn = group_dn(address)
    own, unit = zimbra_id("group", address), zimbra_id("group-external", address)
    inside = f"{local}.__internal__@{host}"
    group = record(
        dn,
        ["groupOfURLs", "dgIdentityAux", "zimbraGroup"],
        _group(
            address,
            aliases,
            {
                "zimbraIsACLGroup": True,
                "memberURL": f"ldap:///??sub?(|(zimbraMemberOf={own})(zimbraId={unit}))",
            },
        ),
        attrs,
    )
    internal = record(
        f"cn=internal,{dn}",
        ["groupOfURLs", "dgIdentityAux", "zimbraGroupDynamicUnit"],
        {
            **_group(inside, (), {}),
            "cn": "internal",
            "zimbraGroupId": own,
            "memberURL": f"ldap:///??sub?(zimbraMemberOf={own})",
        },
        {},
    )
    outside = record(
        f"cn=external,{dn}",
        ["zimbraGroupStaticUnit"],
        {
            "cn": "external",
            "zimbraId": unit,
            "zimbraGroupId": own,
            "zimbraMailForwardingAddress": list(external),
        },
        {},
    )
    return [group, internal, outside, *(alias_entry(alias, own) for alias in aliases)]


def custom_group(address: str, member_url: str, *, aliases: Sequence[str] = (), **attrs: Value) -> list[Record]:
    """Return a dynamic group with a search of its own: no units, no zimbraMemberOf kept."""
    written: dict[str, Value] = {"zimbraIsACLGroup": False, "memberURL": member_url}
    classes = ["groupOfURLs", "dgIdentityAux", "zimbraGroup"]
    entry = record(group_dn(address), classes, _group(address, aliases, written), attrs)
    target = entry.values("zimbraId")[0]
    return [entry, *(alias_entry(alias, target) for alias in aliases)]


def cos(name: str, **attrs: Value) -> list[Record]:
    """Return a class of service."""
    written: dict[str, Value] = {"cn": name, "zimbraId": zimbra_id("cos", name)}
    return [record(cos_dn(name), ["zimbraCOS"], written, attrs)]


def server(fqdn: str, services: Sequence[str], **attrs: Value) -> list[Record]:
    """Return a server that runs `services` (`mta`, `mailbox`, `ldap`)."""
    written: dict[str, Value] = {
        "cn": fqdn,
        "zimbraId": zimbra_id("server", fqdn),
        "zimbraServiceHostname": fqdn,
        "zimbraServiceInstalled": services,
        "zimbraServiceEnabled": services,
    }
    return [record(f"cn={fqdn},cn=servers,cn=zimbra", ["zimbraServer"], written, attrs)]


def global_config(**attrs: Value) -> list[Record]:
    """Return the entry of global settings."""
    written: dict[str, Value] = {
        "cn": "config",
        "zimbraLDAPSchemaVersion": "1518163473",
        "zimbraAccountExtraObjectClass": "amavisAccount",
        "zimbraCalendarResourceExtraObjectClass": "amavisAccount",
        "zimbraDomainExtraObjectClass": "amavisAccount",
        "zimbraSmtpSendAddAuthenticatedUser": False,
    }
    classes = ["organizationalRole", "zimbraGlobalConfig"]
    return [record("cn=config,cn=zimbra", classes, written, attrs)]


def global_grants(*grants: str) -> list[Record]:
    """Return the entry whose grants hold for every account and list."""
    return [record("cn=globalgrant,cn=zimbra", ["zimbraAclTarget"], {"cn": "globalgrant", "zimbraACE": grants}, {})]


def data_source(owner: str, address: str, *, name: str = "elsewhere", **attrs: Value) -> list[Record]:
    """Return an external account of a user's, below the user's entry."""
    written: dict[str, Value] = {
        "zimbraDataSourceId": zimbra_id("data source", f"{owner} {name}"),
        "zimbraDataSourceName": name,
        "zimbraDataSourceEnabled": True,
        "zimbraDataSourceFolderId": "257",
        "zimbraDataSourceType": "imap",
        "zimbraDataSourceEmailAddress": address,
    }
    return [record(f"zimbraDataSourceName={name},{account_dn(owner)}", ["zimbraDataSource"], written, attrs)]


def bind_identity(dn: str, password: str) -> Record:
    """Return an administrator's or application's identity under cn=zimbra."""
    uid = dn.partition(",")[0].partition("=")[2]
    written: dict[str, Value] = {
        "uid": uid,
        "cn": uid,
        "sn": uid,
        "zimbraId": zimbra_id("identity", uid),
        "zimbraAccountStatus": "active",
        "zimbraIsSystemResource": True,
        "userPassword": password,
    }
    return record(dn, ["organizationalPerson", "inetOrgPerson", "zimbraAccount"], written, {})
