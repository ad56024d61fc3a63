"""Postfix's maps as zmmtainit writes them: the directory itself says who gets mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.identities import POSTFIX_DN, POSTFIX_PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.slapd import Slapd

_DELIVERED: Final = (
    "zimbraMailDeliveryAddress, zimbraMailForwardingAddress,"
    " zimbraPrefMailForwardingAddress, zimbraMailCatchAllForwardingAddress"
)
_MAPS: Final = {
    "virtual_mailbox_maps": ("(zimbraMailDeliveryAddress=%s)", "zimbraMailDeliveryAddress"),
    "virtual_mailbox_domains": ("(zimbraDomainName=%s)(zimbraDomainType=local)", "zimbraDomainName"),
    "virtual_alias_domains": ("(zimbraDomainName=%s)(zimbraDomainType=alias)", "zimbraDomainName"),
    "virtual_alias_maps": (
        "(|(zimbraMailDeliveryAddress=%s)(zimbraMailAlias=%s)(zimbraOldMailAddress=%s)(zimbraMailCatchAllAddress=%s))",
        _DELIVERED,
    ),
}
_CANONICAL: Final = {
    "canonical_maps": (
        "(|(zimbraMailDeliveryAddress=%s)(zimbraMailAlias=%s)(zimbraMailCatchAllAddress=%s))",
        "zimbraMailCanonicalAddress, zimbraMailCatchAllCanonicalAddress",
    )
}


def zimbra_maps(slapd: Slapd, folder: Path, *, canonical: bool = False) -> dict[str, str]:
    """Write the maps' files into a folder that Postfix may enter; return the parameters that name them."""
    parameters = {}
    for name, (question, attributes) in {**_MAPS, **(_CANONICAL if canonical else {})}.items():
        file = folder / f"{name}.cf"
        file.write_text(
            f"server_host = {slapd.uri}\nversion = 3\nsearch_base =\nbind = yes\nbind_dn = {POSTFIX_DN}\n"
            f"bind_pw = {POSTFIX_PASSWORD}\nquery_filter = (&{question}(zimbraMailStatus=enabled))\n"
            f"result_attribute = {attributes}\nspecial_result_attribute = member\n",
            encoding="utf-8",
        )
        parameters[name] = f"ldap:{file}"
    return parameters
