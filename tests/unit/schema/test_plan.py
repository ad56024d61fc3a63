"""From an export of cn=config to LDIF: which database, which order, and what is refused."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

import pytest

from ldapmilter.directory.backend import ldif
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.schema import account, cn_config, definition, plan
from ldapmilter.schema.change import Change, Part, to_ldif
from ldapmilter.schema.rights import rights_for
from tests.support.slapd_config import config_ldif
from tests.unit.policy.world import read_config

MILTER: Final = "uid=ldapmilter,cn=appaccts,cn=zimbra"
DEFAULT: Final = read_config({}).policy.attributes()
BARE: Final = config_ldif(Path("/nowhere"), with_schema=False, milter_acl=False, tls=False)
RIGHTS: Final = rights_for(MILTER, DEFAULT, cn_config.read(ldif.parse(BARE)).known)


def bare(text: str = BARE) -> cn_config.CnConfig:
    return cn_config.read(ldif.parse(text))


def without_our_rules(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if "ldapmilter" not in line)


def test_the_database_is_the_one_with_the_empty_suffix_whatever_its_number() -> None:
    assert bare().database == "olcDatabase={2}mdb,cn=config"
    accesslog = "\ndn: olcDatabase={2}mdb,cn=config\nolcDatabase: {2}mdb\nolcSuffix: cn=accesslog\n"
    replicated = BARE.replace("{2}mdb", "{3}mdb") + accesslog
    assert bare(replicated).database == "olcDatabase={3}mdb,cn=config"
    (change,) = plan.access_changes(bare(replicated), RIGHTS)
    assert change.dn == "olcDatabase={3}mdb,cn=config"


def test_rules_are_read_by_their_numbers_not_by_their_order() -> None:
    config = bare(BARE + "\ndn: cn=x,cn=config\nolcAccess: {1}b\n")
    assert [rule.partition("}")[0] for rule in config.access] == [f"{{{n}" for n in range(len(config.access))]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param(BARE.replace("olcSuffix:", "olcSuffix: dc=example"), "empty olcSuffix", id="another directory"),
        pytest.param("dn: cn=config\nobjectClass: olcGlobal\n", "empty olcSuffix", id="nothing to be seen"),
        pytest.param(BARE.replace("'zimbraId'", "'otherId'"), "zimbraId", id="not Zimbra's schema"),
        pytest.param(
            BARE.replace("'zimbraNotes'", "'ldapMilterLegalBcc'"), "cn=zimbra,cn=schema", id="ours in another's entry"
        ),
        pytest.param(
            BARE + "\ndn: olcDatabase={4}mdb,cn=config\nolcSuffix:\n", "several databases", id="two candidates"
        ),
    ],
)
def test_a_server_that_is_none_of_zimbras_is_refused(text: str, word: str) -> None:
    with pytest.raises(LdapmilterError, match=word):
        bare(text)


def test_schema_then_rules() -> None:
    config = bare(without_our_rules(BARE))
    (schema,) = plan.schema_changes(config)
    assert schema.dn == "cn=ldapmilter,cn=schema,cn=config"
    names = {name for name, _ in schema.add}
    assert names == {"objectClass", "cn", "olcObjectIdentifier", "olcAttributeTypes", "olcObjectClasses"}
    (rules,) = plan.access_changes(config, RIGHTS)
    (part,) = rules.parts
    assert (part.operation, part.attribute) == ("add", "olcAccess")
    assert [value[:3] for value in part.values] == ["{0}", "{1}", "{2}"]


def test_a_whole_server_needs_nothing() -> None:
    whole = bare(config_ldif(Path("/nowhere"), with_schema=True, milter_acl=True, tls=False))
    assert plan.schema_changes(whole) == []
    assert plan.access_changes(whole, RIGHTS) == []
    (removal,) = plan.access_removal(whole)
    assert [part.operation for part in removal.parts] == ["delete"]
    assert len(removal.parts[0].values) == 3
    (partly,) = plan.access_removal(whole, keep_hidden=RIGHTS)
    assert [(part.operation, len(part.values)) for part in partly.parts] == [("delete", 3), ("add", 2)]


def test_the_schema_is_the_shipped_file() -> None:
    file = Path(__file__).resolve().parents[3] / "schema" / "ldapmilter.ldif"
    assert definition.text() == file.read_text(encoding="ascii")


# -- the identity ---------------------------------------------------------------------------


def test_the_identity_has_the_form_of_zimbras_own() -> None:
    change = account.identity(MILTER, "long and random", b"salt")
    values = dict(change.add)
    assert [value for name, value in change.add if name == "objectClass"] == [
        "organizationalPerson",
        "inetOrgPerson",
        "zimbraAccount",
    ]
    assert values["uid"] == values["cn"] == values["sn"] == "ldapmilter"
    assert values["zimbraIsSystemResource"] == "TRUE"
    octets = base64.b64decode(values["userPassword"].removeprefix("{SSHA}"))
    assert octets == hashlib.sha1(b"long and randomsalt", usedforsecurity=False).digest() + b"salt"
    assert "long and random" not in change.ldif()
    assert values["userPassword"] not in change.ldif(show_secrets=False)
    again = dict(account.identity(MILTER.upper(), "other", b"x").add)
    assert again["zimbraId"] == values["zimbraId"]


@pytest.mark.parametrize("dn", ["cn=ldapmilter,cn=zimbra", "uid=ldapmilter", "uid=a b,cn=x", ""])
def test_another_form_is_refused(dn: str) -> None:
    with pytest.raises(ConfigError, match="uid=NAME"):
        account.identity(dn, "x", b"x")


# -- LDIF -----------------------------------------------------------------------------------


def test_what_is_printed_reads_back_as_it_was() -> None:
    long = f'to attrs={",".join(f"attribute{n}" for n in range(60))} by dn.exact="{MILTER}" read by * +0 break'
    values = (long, " leading", "trailing ", "ünicode", ":colon", "a\nb", "<url", "plain", "x" * 300)
    change = Change(title="Values.", dn="cn=a", add=tuple(("description", value) for value in values))
    text = change.ldif()
    assert max(map(len, text.splitlines())) <= 101
    (entry,) = ldif.parse(text.replace("changetype: add\n", ""))
    assert entry.all("description") == values


def test_each_kind_of_change() -> None:
    modify = Change(title="M.", dn="cn=a", parts=(Part("delete", "x", ("1",)), Part("add", "x", ("2",))))
    delete = Change(title="D.", dn="cn=b")
    assert to_ldif([modify, delete]) == (
        "# M.\ndn: cn=a\nchangetype: modify\ndelete: x\nx: 1\n-\nadd: x\nx: 2\n-\n\n"
        "# D.\ndn: cn=b\nchangetype: delete\n"
    )
