"""What Zimbra knows of its own attributes: their types, limits and inheritance.

An attribute that it does not know passes unchecked, and inherits nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.zimbra_schema import ATTRIBUTES
from tests.support.zmprov.errors import account_error, invalid_request

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN: Final = {attribute.name.lower(): attribute for attribute in ATTRIBUTES}
_ACCOUNT_INHERITED: Final = """
    zimbraallowanyfromaddress zimbrasmtprestrictenvelopefrom zimbrainternalsendersdomain
    zimbrainterceptaddress zimbrainterceptsendheadersonly zimbrainterceptfrom
    zimbrainterceptsubject zimbrainterceptbody
    zimbraarchiveenabled zimbraarchiveaccountnametemplate zimbraarchiveaccountdatetemplate
"""
_IMMUTABLE_NAMES: Final = """
    zimbraid zimbramaildeliveryaddress zimbramailalias zimbraoldmailaddress zimbraaliastargetid
    zimbramemberof zimbradomainname zimbradomaintype zimbraisaclgroup zimbragroupid
"""
# COS -> account; everything else on a COS stays there.
ACCOUNT_INHERITED: Final = frozenset(_ACCOUNT_INHERITED.split())
# Global config -> domain, global config -> server.
DOMAIN_INHERITED: Final = frozenset({"zimbradomainstatus"})
SERVER_INHERITED: Final = frozenset(name for name, row in KNOWN.items() if {"cfg", "srv"} <= set(row.carriers))
_IMMUTABLE: Final = frozenset(_IMMUTABLE_NAMES.split())


def parse_changes(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return the values by `attr`, `+attr` or `-attr`, in the order given; "" alone unsets.

    Raises:
        ServiceError: an attribute occurs plain and with a sign.
    """
    if len(arguments) % 2:
        raise invalid_request("not enough arguments")
    changes: dict[str, list[str]] = {}
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        changes.setdefault(name, []).append(value)
    plain = {name.lower() for name in changes if name[:1] not in "+-"}
    for name in changes:
        if name[:1] in "+-" and name[1:].lower() in plain:
            raise invalid_request(f"cannot mix +attrName/-attrName with attrName: {name[1:]}")
    return changes


def check(changes: dict[str, list[str]], *, creating: bool = False) -> None:
    """Refuse what Zimbra refuses before it asks LDAP.

    Raises:
        ServiceError: the value is of the wrong type, too long, or not to be changed.
    """
    for name, values in changes.items():
        row = KNOWN.get(name.lstrip("+-").lower())
        if row is None:
            continue
        if row.name.lower() in _IMMUTABLE and not creating:
            raise account_error("INVALID_ATTR_VALUE", f"{row.name} is immutable")
        if row.single and len(values) > 1:
            raise account_error("INVALID_ATTR_VALUE", f"{row.name} is a single-valued attribute")
        for value in values:
            if value:
                _check_value(row.name, row.type, row.length, value)


def _check_value(name: str, kind: str, length: str, value: str) -> None:
    if kind == "boolean" and value not in {"TRUE", "FALSE"}:
        raise account_error("INVALID_ATTR_VALUE", f"{name} must be TRUE or FALSE")
    if kind == "email" and ("@" not in value or set(value) & set("<> ,")):
        raise account_error("INVALID_ATTR_VALUE", f"{name} must be a valid email address: {value}")
    if kind in {"integer", "port"} and not value.lstrip("-").isdigit():
        raise account_error("INVALID_ATTR_VALUE", f"{name} must be a valid integer: {value}")
    if length != "-" and len(value) > int(length):
        message = f"{name} value length({len(value)}) larger than max allowed: {length}"
        raise account_error("INVALID_ATTR_VALUE", message)
