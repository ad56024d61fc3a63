"""The directory of the examples in docs/policy.md, made from the table that describes it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.support import builders
from tests.support.names import zimbra_id
from tests.support.zimbra_base import base_records
from tests.unit.policy.table import policy_table
from tests.unit.policy.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.builders import Value
    from tests.support.record import Record
    from tests.unit.policy.table import Row
    from tests.unit.policy.world import Options

    Values = Mapping[str, Mapping[str, Value]]
    """Attributes that a test adds, by the name of the entry in the table."""

GLOBAL: Final = "global"
"""The name of the global config, which needs no row."""

_TABLE: Final = tuple(policy_table("directory"))
NAMES: Final = {row.value("name"): row.text("kind") for row in _TABLE}
_STOCK_COS: Final = frozenset({"default", "defaultExternal"})


def example_records(values: Values | None = None, *more: Record) -> list[Record]:
    """Return the directory of the examples.

    Args:
        values: attributes to add to its entries.
        more: entries to add.
    """
    given = {name: dict(attributes) for name, attributes in (values or {}).items()}
    if unknown := set(given) - NAMES.keys() - {GLOBAL}:
        msg = f"the example directory has no {sorted(unknown)}"
        raise LookupError(msg)
    records = [record for record in base_records() if not _is_stock_cos(record)]
    records += builders.global_config(
        **{
            "zimbraDefaultDomainName": "example.com",
            "zimbraMtaRecipientDelimiter": "+",
            **given.get(GLOBAL, {}),
        }
    )
    records += builders.server("mbox1.example.com", ["mailbox"])
    records += builders.server("mx1.example.com", ["mta"])
    group_of = {member: row.value("name") for row in _TABLE for member in _dynamic_members(row)}
    for row in _TABLE:
        name = row.value("name")
        records += _build(row, group_of.get(name), given.get(name, {}))
    return [*records, *more]


def _is_stock_cos(record: Record) -> bool:
    return any(record.dn == f"cn={name},cn=cos,cn=zimbra" for name in _STOCK_COS)


def _dynamic_members(row: Row) -> tuple[str, ...]:
    return row.values("leads to") if row.text("kind") == "dynamic group" else ()


def _build(row: Row, member_of: str | None, attributes: Mapping[str, Any]) -> list[Record]:
    name, kind, leads_to = row.value("name"), row.text("kind"), row.values("leads to")
    if kind == "domain":
        return builders.domain(name, **attributes)
    if kind == "alias domain":
        return builders.alias_domain(name, leads_to[0], **attributes)
    if kind == "COS":
        return builders.cos(name, **attributes)
    shown: dict[str, Any] = {"cn": row.text("cn"), **attributes}
    if kind == "list":
        return builders.static_list(name, leads_to, aliases=row.values("aliases"), **shown)
    if kind == "dynamic group":
        # The cn names a group's entry; what people see is its display name.
        return builders.dynamic_group(name, aliases=row.values("aliases"), **attributes)
    if kind == "account":
        catch_all = [target for target in leads_to if target.startswith("@")]
        forwards = [target for target in leads_to if not target.startswith("@")]
        cos = row.value("COS")
        written: dict[str, Any] = {
            "zimbraCOSId": zimbra_id("cos", cos) if cos else None,
            "displayName": row.text("displayName") or None,
            "zimbraMailCatchAllAddress": catch_all,
            "zimbraPrefMailForwardingAddress": ", ".join(forwards) or None,
            "zimbraMemberOf": zimbra_id("group", member_of) if member_of else None,
        }
        return builders.account(name, aliases=row.values("aliases"), **{**written, **shown})
    msg = f"line {row.line}: no such kind of entry: {kind!r}"
    raise LookupError(msg)


def example(values: Values | None = None, *more: Record, options: Options | None = None) -> World:
    """Return the directory of the examples, ready to decide over."""
    return World(example_records(values, *more), options)
