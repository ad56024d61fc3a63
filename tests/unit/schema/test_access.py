"""The text of the access rules, their place, and what is opened and hidden."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from ldapmilter.directory.backend.names import is_list_setting
from ldapmilter.directory.ldap.readability import _STRUCTURE
from ldapmilter.errors import ConfigError
from ldapmilter.schema import access
from ldapmilter.schema.access import change, is_ours, rules
from ldapmilter.schema.definition import own_attributes, without_index
from ldapmilter.schema.rights import READ_ATTRIBUTES, Rights, rights_for
from tests.unit.policy.world import read_config

MILTER: Final = "uid=ldapmilter,cn=appaccts,cn=zimbra"
DEFAULT: Final = read_config({}).policy.secret_attributes()
SECRET: Final = tuple(name for name in own_attributes() if not is_list_setting(name))
ZIMBRAS: Final = ("{0}to attrs=userPassword by anonymous auth", "{1}to attrs=objectClass by users read by * none")


def opened(rights: Rights) -> set[str]:
    found = re.match(r"to attrs=(\S+) by ", rules(rights)[0])
    assert found is not None
    return {name.lower() for name in found[1].split(",")}


def test_the_default_policy_opens_what_is_read_and_nothing_else() -> None:
    found = opened(rights_for(MILTER, DEFAULT))
    assert found == {name.lower() for name in (*READ_ATTRIBUTES, *own_attributes())}
    assert "userpassword" not in found
    for needed in (name for names in _STRUCTURE.values() for name in names):
        assert needed.lower() in found


def test_only_what_is_configured_is_opened_but_all_of_ours_is_hidden() -> None:
    rights = rights_for(MILTER, {"ldapMilterLegalBcc"})
    ours = {name for name in opened(rights) if name.startswith("ldapmilter")}
    lists = {name.lower() for name in own_attributes() if is_list_setting(name)}
    assert ours == {"ldapmilterlegalbcc", "ldapmilterappliestomembers", *lists}
    assert rights.hidden == SECRET


def test_the_settings_of_lists_are_opened_and_hidden_from_nobody() -> None:
    rights = rights_for(MILTER, {*DEFAULT, "zimbraNotes"}, list_attributes=["ldapMilterListTag", "businessCategory"])
    assert {"ldapmilterlisttag", "businesscategory"} <= opened(rights)
    hiding = " ".join(rules(rights)[1:])
    assert "ldapMilterList" not in hiding
    assert "businessCategory" not in hiding
    assert "zimbraNotes" in hiding


def test_one_identity_reads_and_nobody_writes() -> None:
    first, by_class, by_attribute = rules(rights_for(MILTER, DEFAULT))
    assert first.count(" read") == 1
    assert f'by dn.exact="{MILTER}" read' in first
    assert first.endswith(" by * +0 break")
    assert " write" not in first
    for rule in (by_class, by_attribute):
        assert rule.count(" write") == 1
        assert 'by dn.children="cn=admins,cn=zimbra" write' in rule
        assert rule.endswith(" by * none")
        assert "break" not in rule
    assert by_class.startswith('to attrs=objectClass val="ldapMilterPolicy" ')
    assert by_attribute.startswith(f"to attrs={','.join(SECRET)} ")


def test_attributes_of_others_are_hidden_from_users_and_left_to_zimbras_services() -> None:
    rights = rights_for(MILTER, {"amavisArchiveQuarantineTo", "zimbraInterceptAddress"})
    first, hiding = rules(rights)
    assert {"amavisarchivequarantineto", "zimbrainterceptaddress"} <= opened(rights)
    assert "ldapMilter" not in first  # no schema of ours: slapd would refuse its names
    assert hiding.startswith("to attrs=amavisArchiveQuarantineTo,zimbraInterceptAddress ")
    assert 'by dn.children="cn=appaccts,cn=zimbra" +0 break' in hiding
    assert hiding.endswith(" by * none")


def test_what_is_installed_stays_hidden_when_the_policy_uses_other_attributes() -> None:
    rights = rights_for(MILTER, {"zimbraInterceptAddress"}, schema=True)
    assert len(rules(rights)) == 4
    assert not {name for name in opened(rights) if name.startswith("ldapmilter") and not is_list_setting(name)}


@pytest.mark.parametrize(
    ("identity", "attributes", "known", "words"),
    [
        pytest.param("", DEFAULT, None, ["bind_dn"], id="no identity"),
        pytest.param("uid=zimbra,cn=admins,cn=zimbra", DEFAULT, None, ["Zimbra's own"], id="an administrator"),
        pytest.param("UID=zmpostfix, cn=appaccts,cn=zimbra", DEFAULT, None, ["Zimbra's own"], id="a service"),
        pytest.param(MILTER, {"zimbraMailAlias"}, None, ["zimbraMailAlias", "cannot hold"], id="needed by Zimbra"),
        pytest.param(MILTER, {"myCopies"}, {"zimbraid"}, ["myCopies", "schema"], id="not in the schema"),
    ],
)
def test_what_cannot_be_is_refused(
    identity: str, attributes: set[str], known: set[str] | None, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        rights_for(identity, attributes, known)
    for word in words:
        assert word in str(caught.value)


def test_an_identity_that_would_end_its_quotes_is_refused() -> None:
    with pytest.raises(ConfigError):
        rules(rights_for('uid=a" write by * write by dn.exact="x', DEFAULT))


def test_what_an_older_zimbra_lacks_is_left_out_and_told() -> None:
    known = {name.lower() for name in READ_ATTRIBUTES} - {"zimbraoldmailaddress"}
    rights = rights_for(MILTER, DEFAULT, known)
    assert "zimbraoldmailaddress" not in opened(rights)
    assert any("zimbraOldMailAddress" in note for note in rights.notes)


def test_an_attribute_of_the_address_list_is_told() -> None:
    (note,) = rights_for(MILTER, {"description"}).notes
    assert "description" in note
    assert "address list" in note


# -- place ----------------------------------------------------------------------------------


def numbered(*values: str) -> list[str]:
    return [f"{{{n}}}{without_index(value)}" for n, value in enumerate(values)]


OURS: Final = rules(rights_for(MILTER, DEFAULT))


def test_ours_come_first() -> None:
    made = change(ZIMBRAS, OURS)
    assert made.delete == ()
    assert made.numbered == tuple(numbered(*OURS))


def test_what_is_there_stays() -> None:
    assert not change(numbered(*OURS, *ZIMBRAS), OURS)
    # slapd may write the same rule in other words.
    other = [rule.replace("dn.exact=", "dn.base=").replace(" by ", "  by ") for rule in OURS]
    assert not change(numbered(*other, *ZIMBRAS), OURS)


@pytest.mark.parametrize(
    "current",
    [
        pytest.param(numbered(ZIMBRAS[0], *OURS, ZIMBRAS[1]), id="another rule stands before them"),
        pytest.param(numbered(OURS[1], OURS[0], OURS[2], *ZIMBRAS), id="in another order"),
        pytest.param(numbered(*OURS[:2], *ZIMBRAS), id="one is gone"),
        pytest.param(numbered(OURS[0].replace(",zimbraACE", ""), *OURS[1:], *ZIMBRAS), id="of an older version"),
        pytest.param(numbered(OURS[0].replace(MILTER, "uid=b,cn=x"), *OURS[1:], *ZIMBRAS), id="of another identity"),
        pytest.param(numbered(*OURS, *ZIMBRAS, OURS[0]), id="one is there twice"),
    ],
)
def test_whatever_is_otherwise_is_put_right(current: list[str]) -> None:
    made = change(current, OURS)
    after = [without_index(rule) for rule in current if without_index(rule) not in made.delete]
    assert [*made.add, *after] == [*OURS, *map(without_index, ZIMBRAS)]


def test_removal_takes_ours_and_only_ours() -> None:
    foreign = '{0}to attrs=ldapMilterLegalBcc by dn.exact="uid=auditor,cn=x" read by * +0 break'
    made = change(numbered(*OURS, foreign, *ZIMBRAS), ())
    assert made.delete == OURS
    assert made.add == ()
    assert not is_ours(foreign)
    assert access.naming_policy([foreign, *ZIMBRAS, *OURS], own_attributes()) == (foreign,)


def test_the_page_about_rights_lists_what_is_opened() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "schema-and-rights.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table: opened -->")[2].partition("\n\nNo password")[0]
    listed = re.findall(r"`(\w+)`", table.replace("| `check` and `coverage` |", ""))
    assert sorted(listed) == sorted(READ_ATTRIBUTES)
