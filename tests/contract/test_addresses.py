"""What an address, a login and a sender mean: as Zimbra resolves them, on every back end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.address import envelope_address
from ldapmilter.errors import AmbiguousEntry, DirectoryUnavailable
from tests.contract.asking import address, entry, names, resolved
from tests.contract.shapes import ANN, ANN_DN, BOB, IDN_DOMAIN
from tests.support.names import account_dn

if TYPE_CHECKING:
    from ldapmilter.directory.zimbra import MessageDirectory

OWN_SPELLINGS = {
    ANN: ANN,
    "ANN@EXAMPLE.TEST": ANN,
    "Ann@Example.Test": ANN,
    "a.able@example.test": ANN,
    "A.Able@example.test": ANN,
    "ann.maiden@example.test": ANN,
    "ann@alias.test": ANN,
    "ANN@Alias.Test": ANN,
    "a.able@alias.test": ANN,
    "ann.maiden@alias.test": ANN,
    "ann@prov.test": ANN,
    "a.able@prov.test": ANN,
    "mixed.case@example.test": "mixed.case@example.test",
    "boardroom@example.test": "boardroom@example.test",
    "boardroom@alias.test": "boardroom@example.test",
    "dora@example.test": "dora@example.test",
    "visitor@other.test": "visitor@other.test",
    "sue@sub.example.test": "sue@sub.example.test",
    f"ida@{IDN_DOMAIN}": f"ida@{IDN_DOMAIN}",
    "ida@bücher.test": f"ida@{IDN_DOMAIN}",
    "IDA@BÜCHER.test": f"ida@{IDN_DOMAIN}",
    "st*r@example.test": "st*r@example.test",
    "stxr@example.test": "stxr@example.test",
    "plus+tag@example.test": "plus+tag@example.test",
    # Blanks that slapd drops, and so Postfix's map: in front, and all but one inside.
    '" ann"@example.test': ANN,
    '"  ANN"@alias.test': ANN,
    '" a.able"@prov.test': ANN,
    '"in side"@example.test': "blank@example.test",
    '" IN   side"@alias.test': "blank@example.test",
    "led@example.test": "blank@example.test",
    '"Quoted  one"@example.test': "blank@example.test",
    "tongue@example.test": "optional@example.test",
    "bea@blank.test": "bea@blank.test",
    # An address of one's own in the alias domain beats what the alias domain stands for.
    "direct@alias.test": BOB,
    "both@alias.test": BOB,
    "both@example.test": ANN,
    "both@prov.test": ANN,
}
NOBODYS = (
    "nobody@example.test",
    "nobody@alias.test",
    "sue@example.test",
    "ann@sub.example.test",
    "ann@other.test.example.test",
    "ann@outside.test",
    "ann@chain.test",  # one hop, as Zimbra goes
    "*@example.test",
    "st%r@example.test",
    '"*)(uid=*"@example.test',
    '"ann)(|(uid=*"@example.test',
    "'or1=1@example.test",
    '"a\\\\b"@example.test',
    "\u212aate@example.test",
    "änn@example.test",
    '"ann "@example.test',
    '"an n"@example.test',
    '""@example.test',
    '" "@example.test',
)


@pytest.mark.parametrize(("spelling", "account"), OWN_SPELLINGS.items())
def test_an_entry_answers_to_all_its_addresses(view: MessageDirectory, spelling: str, account: str) -> None:
    found = resolved(view, spelling)
    assert names(found) == [account]
    assert found.entry is not None
    assert found.entry.kind == "account"
    assert found.match in {"address", "alias-domain"}
    assert f"dn:{found.entry.dn}" in found.identity_keys
    assert found.known


@pytest.mark.parametrize(("spelling", "account"), OWN_SPELLINGS.items())
def test_login_and_sender_resolve_like_it(view: MessageDirectory, spelling: str, account: str) -> None:
    assert names(view.login(spelling)) == [account]
    assert names(view.sender(address(spelling))) == [account]


@pytest.mark.parametrize("spelling", NOBODYS)
def test_nobody_answers_to_anything_else(view: MessageDirectory, spelling: str) -> None:
    assert names(resolved(view, spelling)) == []
    assert names(view.login(spelling)) == []
    assert names(view.sender(address(spelling))) == []


def test_many_at_once_are_keyed_by_their_own_spelling(view: MessageDirectory) -> None:
    texts = [*OWN_SPELLINGS, *NOBODYS]
    found = view.resolve([address(text) for text in texts])
    assert set(found) == {address(text).key for text in texts}
    for text in texts:
        assert names(found[address(text).key]) == ([OWN_SPELLINGS[text]] if text in OWN_SPELLINGS else [])
        assert found[address(text).key].address == address(text)


@pytest.mark.parametrize("login", ["ann", "Ann", "ANN", "a.able", "ann.maiden", "both"])
def test_a_bare_login_gets_the_default_domain(view: MessageDirectory, login: str) -> None:
    assert names(view.login(login)) == [ANN]


@pytest.mark.parametrize("login", ["nobody", "olga", "", " ", "@", "ann@", "@example.test", "ann bob", "ann\x00", "*"])
def test_a_login_of_nobody(view: MessageDirectory, login: str) -> None:
    assert names(view.login(login)) == []


@pytest.mark.parametrize(
    "login",
    [
        "all@example.test",
        "all",
        "dyn@example.test",
        "dynamic@example.test",
        "engineers@example.test",
        "hab@example.test",
    ],
)
def test_a_group_never_logs_in(view: MessageDirectory, login: str) -> None:
    assert names(view.login(login)) == []


def test_own_delivery_address_and_dn(view: MessageDirectory) -> None:
    ann = entry(view, "A.Able@Alias.Test")
    assert (ann.dn.lower(), ann.name.text, ann.display_name) == (ANN_DN, ANN, "Änn Able")
    assert ann.addresses == {ANN, "a.able@example.test", "both@example.test", "ann.maiden@example.test"}


def test_name_without_display_name_is_cn(view: MessageDirectory) -> None:
    assert entry(view, "olga@other.test").display_name == "olga"


@pytest.mark.parametrize(
    ("spelling", "group"),
    [
        ("all@example.test", "all@example.test"),
        ("ALL@example.test", "all@example.test"),
        ("everyone@example.test", "all@example.test"),
        ("everyone@alias.test", "all@example.test"),
        ("dyn@example.test", "dyn@example.test"),
        ("dynamic@prov.test", "dyn@example.test"),
        ("dyn.__internal__@example.test", "dyn.__internal__@example.test"),
        ("engineers@example.test", "engineers@example.test"),
        ("hab@example.test", "hab@example.test"),
        ("empty@example.test", "empty@example.test"),
    ],
)
def test_groups_of_every_kind(view: MessageDirectory, spelling: str, group: str) -> None:
    found = entry(view, spelling)
    assert found.kind == "group"
    assert group in found.addresses
    assert resolved(view, spelling).match in {"address", "alias-domain"}


@pytest.mark.parametrize("spelling", ["ann@fwd.test", "A.ABLE@fwd.test", "ann.maiden@fwd.test"])
def test_a_domain_that_only_forwards_is_an_alias_domain_for_recipients(view: MessageDirectory, spelling: str) -> None:
    found = resolved(view, spelling)
    assert names(found) == [ANN]
    assert found.hosted_domain == "example.test"


# -- catch-all and recipient delimiter ------------------------------------------------------


@pytest.mark.parametrize(
    "spelling", ["nobody@other.test", "NoBody@Other.TEST", "nobody@otheralias.test", '""@other.test', '" "@other.test']
)
def test_a_catch_all_takes_what_nobody_has(view: MessageDirectory, spelling: str) -> None:
    found = resolved(view, spelling)
    assert (names(found), found.match) == (["catcher@other.test"], "catch-all")
    assert found.identity_keys == {address(spelling).key}


def test_a_catch_all_with_blanks(view: MessageDirectory) -> None:
    assert names(resolved(view, "nobody@blank.test")) == ["bea@blank.test"]


def test_a_catch_all_takes_nothing_else(view: MessageDirectory) -> None:
    assert names(resolved(view, "olga@other.test")) == ["olga@other.test"]
    assert names(resolved(view, "olga@otheralias.test")) == ["olga@other.test"]
    assert names(resolved(view, "nobody@dangling.test")) == []
    assert resolved(view, "catcher@other.test").match == "address"


@pytest.mark.parametrize("spelling", ["nobody@other.test", "nobody@otheralias.test"])
def test_a_catch_all_is_no_login_and_no_sender(view: MessageDirectory, spelling: str) -> None:
    assert names(view.login(spelling)) == []
    sender = view.sender(address(spelling))
    assert names(sender) == []
    assert sender.hosted_domain == "other.test"


@pytest.mark.parametrize("spelling", ["ann+news@example.test", "Ann+A+B@alias.test", "a.able+x@prov.test"])
def test_a_subaddress_leads_to_its_account(view: MessageDirectory, spelling: str) -> None:
    found = resolved(view, spelling)
    assert (names(found), found.match) == ([ANN], "delimiter")
    assert found.identity_keys == {address(spelling).key}


def test_a_subaddress_that_is_an_address_is_just_that(view: MessageDirectory) -> None:
    assert names(resolved(view, "plus+tag@example.test")) == ["plus+tag@example.test"]
    assert names(resolved(view, "plus+other@example.test")) == ["plus@example.test"]
    assert names(resolved(view, "+ann@example.test")) == []
    assert names(resolved(view, "nobody+ann@example.test")) == []
    assert names(resolved(view, "olga+x@other.test")) == ["olga@other.test"]
    assert names(resolved(view, "nobody+x@other.test")) == ["catcher@other.test"]


UNREADABLE = ["é", "\udcff", "\t", "x" * 300, "x" * 1200, "\x7f"]
"""Extensions that are in no directory."""


@pytest.mark.parametrize("extension", UNREADABLE)
def test_an_extension_that_cannot_be_read_is_cut_all_the_same(view: MessageDirectory, extension: str) -> None:
    expected = {
        "ann@example.test": ANN,
        "a.able@alias.test": ANN,
        " in  side@example.test": "blank@example.test",
        "all@example.test": "all@example.test",
        "nobody@other.test": "catcher@other.test",
        "nobody@example.test": None,
        "+ann@example.test": None,
    }
    for text, name in expected.items():
        local, _, domain = text.rpartition("@")
        written = envelope_address(f'"{local}+{extension}"@{domain}')
        assert written is not None
        found = view.resolve([written])[written.key]
        assert names(found) == ([name] if name else []), text
        assert found.hosted_domain is not None
        assert found.identity_keys == {written.key}


@pytest.mark.parametrize("local", ["é", "\udcff", "x" * 300, '"a\tb"'])
def test_what_cannot_be_read_is_in_its_domain(view: MessageDirectory, local: str) -> None:
    for domain, name in (("example.test", []), ("alias.test", []), ("other.test", ["catcher@other.test"])):
        written = envelope_address(f"{local}@{domain}")
        assert written is not None
        assert not written.is_readable
        found = view.resolve([written])[written.key]
        assert names(found) == name
        assert found.hosted_domain is not None
        sender = view.sender(written)
        assert (names(sender), sender.hosted_domain) == ([], found.hosted_domain)


@pytest.mark.parametrize("extension", ["news", *UNREADABLE])
def test_a_sender_with_an_extension_is_its_account(view: MessageDirectory, extension: str) -> None:
    written = envelope_address(f'"A.Able+{extension}"@alias.test')
    assert written is not None
    found = view.sender(written)
    assert (names(found), found.match, found.address.key) == ([ANN], "address", ANN)


def test_a_subaddress_is_no_login(view: MessageDirectory) -> None:
    assert names(view.login("ann+news@example.test")) == []
    assert names(view.login("ann+news")) == []


# -- two entries ----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["twin@example.test", "Twin@alias.test"])
def test_two_accounts_for_one_recipient_are_both_returned(view: MessageDirectory, spelling: str) -> None:
    found = resolved(view, spelling)
    assert names(found) == ["twin1@example.test", "twin2@example.test"]
    assert found.entry is None


@pytest.mark.parametrize("login", ["twin@example.test", "TWIN", "twin@prov.test"])
def test_two_accounts_for_one_login_cannot_be_known(view: MessageDirectory, login: str) -> None:
    with pytest.raises(AmbiguousEntry) as caught:
        view.login(login)
    assert isinstance(caught.value, DirectoryUnavailable)
    for name in ("twin1", "twin2"):
        assert account_dn(f"{name}@example.test") in str(caught.value)


def test_two_accounts_for_one_sender_are_both_returned(view: MessageDirectory) -> None:
    assert names(view.sender(address("twin@example.test"))) == ["twin1@example.test", "twin2@example.test"]


# -- hosted domains -------------------------------------------------------------------------


def test_hosted_domains(view: MessageDirectory) -> None:
    for domain in ("example.test", "alias.test", "prov.test", "other.test", "sub.example.test", IDN_DOMAIN):
        assert view.hosts(domain)
    for domain in ("outside.test", "test", "ample.test", "x.example.test", "vault.test", ""):
        assert not view.hosts(domain)


@pytest.mark.parametrize(
    ("spelling", "domain"),
    [
        (ANN, "example.test"),
        ("nobody@example.test", "example.test"),
        ("nobody@alias.test", "example.test"),
        ("nobody@prov.test", "example.test"),
        ("nobody@otheralias.test", "other.test"),
        ("nobody@sub.example.test", "sub.example.test"),
        ("nobody@bücher.test", IDN_DOMAIN),
        ("nobody@outside.test", None),
        ("nobody@x.example.test", None),
    ],
)
def test_the_domain_whose_policy_covers_an_address(view: MessageDirectory, spelling: str, domain: str | None) -> None:
    assert resolved(view, spelling).hosted_domain == domain
    assert view.sender(address(spelling)).hosted_domain == domain


# -- mailbox servers ------------------------------------------------------------------------


def test_mailbox_servers_are_those_that_run_the_service(view: MessageDirectory) -> None:
    assert view.is_mailbox_host("192.0.2.17")
    assert view.is_mailbox_host("2001:db8::17")
    assert not view.is_mailbox_host("192.0.2.25")
    assert not view.is_mailbox_host("127.0.0.1")
    assert not view.is_mailbox_host("")
