"""Which levels apply to whom, in which order: as Zimbra chooses COS and domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.asking import entry, levels
from tests.contract.shapes import ANN, BOB, IDN_DOMAIN, WATCH
from tests.support.names import account_dn, cos_dn, domain_dn, group_dn

if TYPE_CHECKING:
    from ldapmilter.directory.zimbra import MessageDirectory

GLOBAL = ("global", "cn=config,cn=zimbra")


def _above(cos: str, domain: str) -> list[tuple[str, str]]:
    return [("cos", cos_dn(cos).lower()), ("domain", domain_dn(domain)), GLOBAL]


@pytest.mark.parametrize(
    ("spelling", "cos", "domain"),
    [
        pytest.param(BOB, "sales", "example.test", id="its own, the id in another case"),
        pytest.param(ANN, "legal", "example.test", id="none: the default of its domain"),
        pytest.param("carl@example.test", "legal", "example.test", id="dangling: the default of its domain"),
        pytest.param("cora@example.test", "legal", "example.test", id="the id of something else: the same"),
        pytest.param("boardroom@example.test", "legal", "example.test", id="resource"),
        pytest.param("dora@example.test", "legal", "example.test", id="closed"),
        pytest.param("olga@other.test", "default", "other.test", id="domain without a default: by name"),
        pytest.param("dan@dangling.test", "default", "dangling.test", id="domain with a dangling one: by name"),
        pytest.param("sue@sub.example.test", "default", "sub.example.test", id="a parent domain gives nothing"),
        pytest.param(f"ida@{IDN_DOMAIN}", "default", IDN_DOMAIN, id="ACE domain"),
        pytest.param("visitor@example.test", "guests", "example.test", id="external: the domain's for externals"),
        pytest.param("visitor@other.test", "defaultExternal", "other.test", id="external: by name"),
        pytest.param("visitor@dangling.test", "defaultExternal", "dangling.test", id="external, dangling: by name"),
        pytest.param("ann@alias.test", "legal", "example.test", id="reached through an alias domain"),
        pytest.param("blank@example.test", "sales", "example.test", id="the id with blanks"),
        pytest.param("nobody@otheralias.test", "default", "other.test", id="reached through a catch-all"),
    ],
)
def test_an_account_has_account_cos_domain_global(view: MessageDirectory, spelling: str, cos: str, domain: str) -> None:
    assert levels(view, spelling) == [("account", ""), *_above(cos, domain)]


@pytest.mark.parametrize(
    "spelling",
    ["all@example.test", "everyone@alias.test", "dyn@example.test", "engineers@example.test", "hab@example.test"],
)
def test_a_group_has_group_domain_global(view: MessageDirectory, spelling: str) -> None:
    assert levels(view, spelling) == [("group", ""), ("domain", domain_dn("example.test")), GLOBAL]


@pytest.mark.parametrize(
    ("hosted", "domain"),
    [("example.test", "example.test"), ("alias.test", "example.test"), ("prov.test", "example.test")],
)
def test_an_address_without_entry_has_domain_global(view: MessageDirectory, hosted: str, domain: str) -> None:
    found = [(holder.level, holder.dn.lower()) for holder in view.domain_chain(hosted)]
    assert found == [("domain", domain_dn(domain)), GLOBAL]


def test_values_of_every_level_in_a_stable_order(view: MessageDirectory) -> None:
    ann = entry(view, ANN)
    account, cos, domain, config = view.chains([ann])[ann.dn]
    assert account.values("ldapMilterArchiveBcc") == ("ann@vault.test",)
    assert account.values("LDAPMILTERARCHIVEBCC") == ("ann@vault.test",)
    assert account.values("ldapMilterLegalBcc") == ()
    assert cos.values("ldapMilterArchiveBcc") == ("legal@vault.test",)
    assert domain.values("ldapMilterLegalBcc") == ("first@vault.test", "second@vault.test")
    assert config.values("ldapMilterLegalBcc") == ("global@vault.test",)


def test_many_chains_at_once(view: MessageDirectory) -> None:
    spelled = [ANN, BOB, "all@example.test", "visitor@example.test", "olga@other.test", "twin1@example.test"]
    entries = [entry(view, text) for text in spelled]
    together = view.chains(entries)
    assert set(together) == {one.dn for one in entries}
    for one in entries:
        assert together[one.dn] == view.chains([one])[one.dn]


def test_a_policy_group_stands_between_account_and_cos(view: MessageDirectory) -> None:
    watch = ("policy-group", account_dn(WATCH))
    assert levels(view, "wanda@example.test") == [("account", ""), watch, *_above("legal", "example.test")]


def test_policy_groups_add_up_reach_through_lists_and_may_be_dynamic(view: MessageDirectory) -> None:
    own, *middle, cos, domain, config = levels(view, "walt@example.test")
    assert own == ("account", "")
    assert sorted(middle) == [
        ("policy-group", group_dn("watchdyn@example.test")),
        ("policy-group", account_dn(WATCH)),
    ]
    assert [cos, domain, config] == _above("sales", "example.test")


def test_the_path_to_a_policy_group(view: MessageDirectory) -> None:
    walt = entry(view, "walt@example.test")
    paths = {holder.dn.lower(): holder.group_path for holder in view.chains([walt])[walt.dn] if holder.group_path}
    assert paths[account_dn(WATCH)] == (WATCH, "watchers@example.test")
    assert paths[group_dn("watchdyn@example.test")] == ("watchdyn@example.test",)


def test_a_policy_group_does_not_reach_through_forwards(view: MessageDirectory) -> None:
    assert levels(view, "fred@example.test") == [("account", ""), *_above("legal", "example.test")]


def test_a_policy_group_has_no_levels_of_itself(view: MessageDirectory) -> None:
    for group in (WATCH, "watchers@example.test"):
        assert levels(view, group) == [("group", ""), ("domain", domain_dn("example.test")), GLOBAL]
