"""Every command that the stand-in knows, under Zimbra's long and short names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.zmprov import reading, writing
from tests.support.zmprov.errors import Usage, invalid_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.zmprov.store import Store

_CACHES: Final = """
    account acl alwaysOnCluster all config cos domain galgroup globalgrant group
    license locale mime server skin uistrings zimlet
"""


def flush_cache(_store: Store, arguments: Sequence[str]) -> None:
    """fc [-a] {type}[,{type}...] [{name|id}...]: there is no mailboxd here whose cache could be stale."""
    rest = [argument for argument in arguments if argument != "-a"]
    if not rest:
        raise Usage
    for kind in rest[0].split(","):
        if kind not in _CACHES.split():
            raise invalid_request(f"invalid cache type: {kind}")


BY_SOAP_ALONE: Final = frozenset({"fc", "flushCache"})
COMMANDS: Final[dict[str, Callable[[Store, Sequence[str]], None]]] = {
    name: command
    for names, command in (
        ("ga getAccount", reading.get_account),
        ("gc getCos", reading.get_cos),
        ("gd getDomain", reading.get_domain),
        ("gs getServer", reading.get_server),
        ("gdl getDistributionList", reading.get_list),
        ("gcf getConfig", reading.get_config),
        ("gacf getAllConfig", reading.get_all_config),
        ("gaa getAllAccounts", reading.get_all_accounts),
        ("gac getAllCos", reading.get_all_cos),
        ("gad getAllDomains", reading.get_all_domains),
        ("gadl getAllDistributionLists", reading.get_all_lists),
        ("gas getAllServers", reading.get_all_servers),
        ("gg getGrants", reading.get_grants),
        ("ma modifyAccount", writing.modify_account),
        ("mc modifyCos", writing.modify_cos),
        ("md modifyDomain", writing.modify_domain),
        ("mdl modifyDistributionList", writing.modify_list),
        ("ms modifyServer", writing.modify_server),
        ("mcf modifyConfig", writing.modify_config),
        ("sac setAccountCos", writing.set_account_cos),
        ("ca createAccount", writing.create_account),
        ("cc createCos", writing.create_cos),
        ("cd createDomain", writing.create_domain),
        ("cad createAliasDomain", writing.create_alias_domain),
        ("cdl createDistributionList", writing.create_list),
        ("cddl createDynamicDistributionList", writing.create_dynamic_list),
        ("adlm addDistributionListMember", writing.add_members),
        ("rdlm removeDistributionListMember", writing.remove_members),
        ("aaa addAccountAlias", writing.add_alias),
        ("raa removeAccountAlias", writing.remove_alias),
        ("da deleteAccount", writing.delete_account),
        ("dc deleteCos", writing.delete_cos),
        ("ddl deleteDistributionList", writing.delete_list),
        ("fc flushCache", flush_cache),
    )
    for name in names.split()
}
