"""The harness itself: what the other end-to-end tests take for granted."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.contract.shapes import ANN_DN, BOB_DN, shapes
from tests.support.builders import (
    USER_PASSWORD,
    account,
    domain,
    static_list,
)
from tests.support.identities import MILTER_DN, MILTER_PASSWORD, POSTFIX_DN, POSTFIX_PASSWORD
from tests.support.names import account_dn, cos_dn, zimbra_id
from tests.support.ports import HANG, listens
from tests.support.postfix import Postfix
from tests.support.record import Record, to_ldif, without_policy
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE = b"From: Ann <ann@example.test>\nTo: bob@example.test\nSubject: hello\n\nHello.\n"
NO_SUCH_OBJECT = 32
CONFIG_DN = "cn=config,cn=zimbra"


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """Return a running directory; tests that stop it start it again."""
    with Slapd(shapes()) as server:
        yield server


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """Return a running Postfix with three logins."""
    users = {"ann@example.test": "one", "ann": "two", "A.Able@Example.Test": "three"}
    with Postfix(users=users) as server:
        yield server


def as_milter(slapd: Slapd, *arguments: str) -> tuple[int, str]:
    return slapd.search(MILTER_DN, MILTER_PASSWORD, *arguments)


def as_user(slapd: Slapd, *arguments: str) -> tuple[int, str]:
    return slapd.search(ANN_DN, USER_PASSWORD, *arguments)


def test_the_milter_reads_cos_and_global_config(slapd: Slapd) -> None:
    code, ldif = as_milter(slapd, "-b", cos_dn("legal"), "-s", "base", "zimbraId", "zimbraInterceptAddress")
    assert code == 0
    assert f"zimbraId: {zimbra_id('cos', 'legal')}\n" in ldif
    assert "zimbraInterceptAddress" not in ldif  # no policy of this configuration: not the milter's business
    code, ldif = as_milter(slapd, "-b", CONFIG_DN, "-s", "base", "zimbraDefaultDomainName")
    assert code == 0
    assert "zimbraDefaultDomainName: example.test\n" in ldif


def test_postfix_identity_sees_neither(slapd: Slapd) -> None:
    for base in (cos_dn("legal"), CONFIG_DN):
        code, ldif = slapd.search(POSTFIX_DN, POSTFIX_PASSWORD, "-b", base, "-s", "base")
        assert (code, ldif) == (NO_SUCH_OBJECT, "")
    code, ldif = slapd.search(POSTFIX_DN, POSTFIX_PASSWORD, "-b", "", "(uid=carl)", "zimbraCOSId")
    assert code == 0
    assert "zimbraCOSId" not in ldif


def test_a_hidden_account_loses_its_name_for_postfix_only(slapd: Slapd) -> None:
    wanted = ("-b", account_dn("bob@example.test"), "-s", "base", "cn", "zimbraMailAlias", "mail")
    assert "cn: Bob" not in slapd.search(POSTFIX_DN, POSTFIX_PASSWORD, *wanted)[1]
    assert "cn: Bob" in as_milter(slapd, *wanted)[1]


def test_nobody_but_the_milter_learns_who_is_copied(slapd: Slapd) -> None:
    copied = account("copied@example.test", ldapMilterArchiveBcc="vault@example.test")
    slapd.add(copied)
    try:
        name = ("-b", copied[0].dn, "-s", "base")
        assert "ldapMilterArchiveBcc: vault@example.test" in as_milter(slapd, *name)[1]
        assert "objectClass: ldapMilterPolicy" in as_milter(slapd, *name)[1]
        for search in (as_user, lambda server, *rest: server.search("", "", *rest)):
            assert "ldapmilter" not in search(slapd, *name, "*", "+")[1].lower()
            for attack in (
                "(objectClass=ldapMilterPolicy)",
                "(&(objectClass=inetOrgPerson)(!(objectClass=ldapMilterPolicy)))",
                "(ldapMilterArchiveBcc=*)",
                "(ldapMilterArchiveBcc=vault@example.test)",
                "(!(ldapMilterArchiveBcc=*))",
            ):
                assert search(slapd, "-b", "", attack)[1] == ""
        assert "objectClass: inetOrgPerson" in as_user(slapd, *name)[1]
    finally:
        slapd.delete(copied[0].dn)


def test_members_of_both_kinds_of_dynamic_group(slapd: Slapd) -> None:
    managed = as_milter(slapd, "-b", "", "(zimbraMailAlias=dyn@example.test)", "member")[1]
    assert f"member: {ANN_DN}\n" in managed
    assert "member: cn=external,cn=dyn," in managed
    custom = as_milter(slapd, "-b", "", "(zimbraMailAlias=engineers@example.test)", "member")[1]
    members = {line.partition(": ")[2] for line in custom.splitlines() if line.startswith("member: ")}
    assert members == {BOB_DN, account_dn("boardroom@example.test"), "uid=plus\\2Btag,ou=people,dc=example,dc=test"}


def test_it_counts_the_searches_of_others(slapd: Slapd) -> None:
    before, anonymous = slapd.searches(), slapd.searches("")
    as_milter(slapd, "-b", "", "(mail=ann@example.test)", "1.1")
    slapd.search("", "", "-b", "", "(mail=bob@example.test)", "1.1")
    long = "(|" + "".join(f"(mail=user{n}@example.test)" for n in range(500)) + ")"
    as_milter(slapd, "-b", "", long, "1.1")
    as_milter(slapd, "-b", "", "(uid=ann)", "1.1")
    slapd.add(account("new@example.test"))
    slapd.delete(account_dn("new@example.test"))
    assert slapd.searches() == before + 4
    assert slapd.searches("") == anonymous + 1
    assert [search.filter[:30] for search in slapd.search_log()[-4:]] == [
        "(mail=ann@example.test)",
        "(mail=bob@example.test)",
        long[:30],
        "(uid=ann)",
    ]


def test_stop_start_kill_and_freeze(slapd: Slapd) -> None:
    uri = slapd.uri
    count = slapd.searches()
    for end in (slapd.stop, slapd.kill):
        end()
        assert not listens(int(uri.rpartition(":")[2]))
        slapd.start()
        assert slapd.uri == uri
        assert as_milter(slapd, "-b", ANN_DN, "-s", "base", "1.1")[0] == 0
    assert slapd.searches() == count + 2
    slapd.suspend()
    try:
        port = int(uri.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), HANG) as frozen:
            frozen.settimeout(0.2)
            frozen.sendall(bytes.fromhex("300c020101600702010304008000"))  # anonymous bind
            with pytest.raises(TimeoutError):
                frozen.recv(1)
    finally:
        slapd.resume()
    assert as_milter(slapd, "-b", ANN_DN, "-s", "base", "1.1")[0] == 0


def test_entries_may_be_added_and_changed(slapd: Slapd) -> None:
    slapd.add(domain("new.example.test"))
    slapd.add(
        [
            *account("zoe@new.example.test", displayName="Zoë "),
            *static_list("team@new.example.test", [], aliases=["crew@new.example.test"]),
        ]
    )
    dn = account_dn("zoe@new.example.test")
    assert "displayName:: Wm/DqyA=\n" in slapd.slapcat()
    slapd.modify(f"dn: {dn}\nchangetype: modify\nreplace: zimbraCOSId\nzimbraCOSId: gone\n")
    assert "zimbraCOSId: gone" in as_milter(slapd, "-b", dn, "-s", "base", "zimbraCOSId")[1]
    with pytest.raises(RuntimeError, match=r"(?i)constraint|unique"):
        slapd.add(account("other@new.example.test", mail="zoe@new.example.test"))


def test_without_schema_or_rule() -> None:
    with Slapd(without_policy(shapes()), with_schema=False, milter_acl=False) as server:
        assert as_milter(server, "-b", CONFIG_DN, "-s", "base")[0] == NO_SUCH_OBJECT
        with pytest.raises(RuntimeError, match=r"undefined|objectClass"):
            server.add(account("copied@example.test", ldapMilterArchiveBcc="v@example.test"))


def test_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    with Slapd([], tls=True) as server:
        monkeypatch.setenv("LDAPTLS_CACERT", str(server.ca_file))
        assert server.search("", "", "-ZZ", "-b", "", "-s", "base")[0] == 0
        for uri in (server.ldaps_uri, server.ldapi_uri):
            assert server.search("", "", "-b", "", "-s", "base", uri=uri)[0] == 0


def test_a_record_encodes_what_ldif_cannot_hold() -> None:
    record = Record("cn=a", (("cn", "a"), ("sn", " x"), ("sn", "ü"), ("sn", "a\nb"), ("sn", b"<")))
    assert record.ldif() == "dn: cn=a\ncn: a\nsn:: IHg=\nsn:: w7w=\nsn:: YQpi\nsn:: PA==\n\n"
    filler = Record("cn=A", (("cn", "other"),), filler=True)
    assert to_ldif([filler, record, filler]) == record.ldif()
    assert zimbra_id("cos", "defaultExternal").endswith("g")


def test_mail_of_a_user_is_delivered(postfix: Postfix) -> None:
    sent = postfix.send(
        "ann@example.test",
        ["bob@example.test", "joe@elsewhere.test"],
        MESSAGE,
        login="ann@example.test",
        password="one",
    )
    assert sent.accepted
    assert sent.queue_id
    for recipient in ("bob@example.test", "joe@elsewhere.test"):
        (message,) = postfix.wait_delivered(recipient)
        assert f"\nDelivered-To: {recipient}\n".encode() in message
        assert b"\nHello.\n" in message


@pytest.mark.parametrize(("login", "password"), [("ann", "two"), ("A.Able@Example.Test", "three")])
def test_a_login_is_known_as_typed(postfix: Postfix, login: str, password: str) -> None:
    sent = postfix.send("", ["bob@example.test"], MESSAGE, login=login, password=password)
    assert sent.accepted
    (line,) = postfix.said(f"{sent.queue_id}: client=localhost[127.0.0.1], sasl_method=PLAIN")
    assert line.endswith(f"sasl_username={login}")


def test_a_stranger_may_not_relay(postfix: Postfix) -> None:
    sent = postfix.send("x@outside.test", ["y@elsewhere.test"], MESSAGE)
    assert (sent.accepted, sent.stage, sent.code) == (False, "rcpt", 554)
    sent = postfix.send("x@outside.test", ["carl@example.test", "y@elsewhere.test"], MESSAGE)
    assert sent.accepted
    assert list(sent.refused) == ["y@elsewhere.test"]
    postfix.wait_delivered("carl@example.test")


def test_a_wrong_password_is_refused(postfix: Postfix) -> None:
    login = "ann@example.test"
    sent = postfix.send(login, ["bob@example.test"], MESSAGE, login=login, password="wrong")
    assert (sent.accepted, sent.stage, sent.code) == (False, "auth", 535)


def test_the_author_gets_the_bounce(postfix: Postfix) -> None:
    sent = postfix.send("author@example.test", ["bounce-1@example.test"], MESSAGE)
    assert sent.accepted
    (bounce,) = postfix.wait_delivered("author@example.test")
    assert b"Final-Recipient: rfc822; bounce-1@example.test" in bounce
    assert b"Status: 5.1.1" in bounce
    quiet = postfix.send("silent@example.test", ["bounce-2@example.test"], MESSAGE, rcpt_options=["NOTIFY=NEVER"])
    assert quiet.accepted
    postfix.queue_idle()
    assert postfix.messages("silent@example.test") == []


def test_sendmail(postfix: Postfix) -> None:
    postfix.sendmail("root@example.test", ["dave@example.test", "erin@elsewhere.test"], MESSAGE)
    postfix.wait_delivered("dave@example.test")
    postfix.wait_delivered("erin@elsewhere.test")


def test_several_messages_and_odd_bytes_on_one_connection(postfix: Postfix) -> None:
    with postfix.connect() as smtp:
        assert smtp.greeting.code == 220
        assert smtp.login("ann", "two").code == 235
        odd = b"From: caf\xe9 <ann@example.test>\r\nSubject: odd\r\n\r\nbody\r\n"
        assert smtp.message("ann@example.test", ["odd@example.test"], odd).code == 250
        assert smtp.command("RSET").code == 250
        assert smtp.message("ann@example.test", ["odd@example.test"], odd).code == 250
        assert smtp.command("QUIT").code == 221
    messages = postfix.wait_delivered("odd@example.test", 2)
    assert all(b"From: caf\xe9 <ann@example.test>\n" in message for message in messages)


def test_postfix_stops_and_starts_again(postfix: Postfix) -> None:
    postfix.stop()
    assert not listens(postfix.port)
    postfix.reconfigure(smtpd_banner="again ESMTP")
    postfix.start()
    with postfix.connect() as smtp:
        assert smtp.greeting.text == "again ESMTP"


def test_postfix_asks_the_directory_as_zimbra_has_it(slapd: Slapd) -> None:
    with Postfix() as server:
        table = server.config_directory / "aliases.cf"
        table.write_text(
            f"server_host = {slapd.uri}\nversion = 3\nsearch_base =\nbind = yes\n"
            f"bind_dn = {POSTFIX_DN}\nbind_pw = {POSTFIX_PASSWORD}\n"
            "query_filter = (&(|(zimbraMailDeliveryAddress=%s)(zimbraMailAlias=%s))"
            "(zimbraMailStatus=enabled))\n"
            "result_attribute = zimbraMailDeliveryAddress zimbraMailForwardingAddress\n"
            "special_result_attribute = member\n",
            encoding="ascii",
        )
        server.reconfigure(virtual_alias_maps=f"ldap:{table}")
        assert server.send("x@outside.test", ["dyn@example.test"], MESSAGE).accepted
        server.wait_delivered("ann@example.test")
        server.wait_delivered("guest@outside.test")
