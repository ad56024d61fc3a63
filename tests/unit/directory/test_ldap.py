"""The LDAP adapter against servers that are down, hang, dribble, lie or ask for another password."""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.directory.backend.filters import Equal, Present, Substring
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.errors import ConfigError, DeadlineExceeded, DirectoryUnavailable
from tests.contract.shapes import ANN_DN, shapes
from tests.support.certificates import make_certificates
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.ports import HANG, free_port, wait_until
from tests.support.slapd import Slapd
from tests.unit.directory import peers
from tests.unit.directory.hand import Clock
from tests.unit.directory.peers import Peer, answering, babble, dribble, found, hang_up, silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.directory.backend.raw_entry import RawEntry

# ldap3 2.9.1 checks names with a function that Python 3.7 deprecated.

AMPLE = 60.0
SHORT = 1.0
"""Seconds in which a server that never answers is given up."""
ANN = Equal("zimbraMailDeliveryAddress", "ann@example.test")
DONE = peers.result(0x65, peers.SUCCESS)
MISBEHAVIOURS = {"silent": silent, "hangs up": hang_up, "babbles": babble, "dribbles": dribble}


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """Return a running server that no test changes."""
    with Slapd(shapes(), tls=True) as server:
        yield server


@pytest.fixture
def own_slapd() -> Iterator[Slapd]:
    """Return a running server of the test's own."""
    with Slapd(shapes()) as server:
        yield server


@contextmanager
def opened(*uris: str, **settings: Any) -> Iterator[LdapStore]:
    given = {
        "bind_dn": MILTER_DN,
        "read_password": lambda: MILTER_PASSWORD,
        "starttls": False,
        "connect_timeout": 0.5,
        **settings,
    }
    store = LdapStore(LdapSettings(uris=uris, **given), time.monotonic)
    try:
        yield store
    finally:
        store.close()


def ask(store: LdapStore, seconds: float = AMPLE) -> list[RawEntry]:
    return store.search("", "sub", ANN, ("uid",), Deadline.after(seconds, time.monotonic))


def dns(store: LdapStore, seconds: float = AMPLE) -> list[str]:
    return [entry.dn for entry in ask(store, seconds)]


def refused_uri() -> str:
    return f"ldap://127.0.0.1:{free_port()}"


@contextmanager
def in_time() -> Iterator[None]:
    """Guard against hangs."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < HANG


# -- fail-over ------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS)
def test_the_next_server_answers(slapd: Slapd, behaviour: str) -> None:
    with Peer(MISBEHAVIOURS[behaviour]) as bad, opened(bad.uri, slapd.uri) as store:
        assert dns(store) == [ANN_DN]
        assert bad.accepted == 1


def test_the_next_server_answers_when_nobody_listens(slapd: Slapd) -> None:
    with opened(refused_uri(), refused_uri(), slapd.uri) as store:
        assert dns(store) == [ANN_DN]


def test_the_next_server_answers_when_a_name_does_not_resolve(slapd: Slapd) -> None:
    with opened("ldap://no-such-host.invalid", slapd.uri) as store:
        assert dns(store) == [ANN_DN]


@pytest.mark.parametrize("code", [peers.BUSY, peers.UNWILLING])
def test_the_next_server_answers_when_the_bind_is_refused(slapd: Slapd, code: int) -> None:
    with Peer(answering(bind=code)) as bad, opened(bad.uri, slapd.uri) as store:
        assert dns(store) == [ANN_DN]


@pytest.mark.parametrize("code", [peers.BUSY, peers.UNWILLING, peers.SIZE_LIMIT_EXCEEDED])
def test_the_next_server_answers_when_the_search_is_refused(slapd: Slapd, code: int) -> None:
    operations = (found("uid=wrong", "wrong"), peers.result(0x65, code))
    with Peer(answering(*operations)) as bad, opened(bad.uri, slapd.uri) as store:
        assert dns(store) == [ANN_DN]


def test_the_next_server_answers_when_one_hangs_after_the_bind(slapd: Slapd) -> None:
    with Peer(answering()) as bad, opened(bad.uri, slapd.uri) as store:
        assert dns(store, 3 * SHORT) == [ANN_DN]


def test_the_first_server_is_asked_first(slapd: Slapd) -> None:
    with Peer(answering(DONE)) as second, opened(slapd.uri, second.uri) as store:
        assert dns(store) == [ANN_DN]
        assert second.accepted == 0


def test_a_failed_server_is_left_alone_for_a_moment(slapd: Slapd) -> None:
    clock = Clock()
    with Peer(hang_up) as bad:
        settings = LdapSettings(
            uris=(bad.uri, slapd.uri), bind_dn=MILTER_DN, read_password=lambda: MILTER_PASSWORD, starttls=False
        )
        store = LdapStore(settings, clock)
        for _ in range(5):
            store.search("", "sub", ANN, ("uid",), clock.deadline())
        assert bad.accepted == 1
        clock.now += 60
        store.search("", "sub", ANN, ("uid",), clock.deadline())
        assert bad.accepted == 2
        store.close()


# -- deadline -------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS)
def test_a_server_that_never_answers_is_given_up_in_time(behaviour: str) -> None:
    with Peer(MISBEHAVIOURS[behaviour]) as bad, opened(bad.uri) as store, in_time():
        with pytest.raises(DirectoryUnavailable) as caught:
            ask(store, SHORT)
        assert bad.uri in str(caught.value)


@pytest.mark.parametrize("behaviour", ["silent", "dribbles"])
def test_it_is_the_deadline_that_passed(behaviour: str) -> None:
    with Peer(MISBEHAVIOURS[behaviour]) as bad, opened(bad.uri, connect_timeout=30) as store:
        with in_time(), pytest.raises(DeadlineExceeded):
            ask(store, SHORT)
        assert bad.accepted == 1


def test_an_answer_that_dribbles_after_the_bind_is_given_up_in_time() -> None:
    slow = answering(found("uid=ann,dc=test", "ann" * 30), DONE, pace=0.1)
    with Peer(slow) as bad, opened(bad.uri) as store, in_time(), pytest.raises(DeadlineExceeded):
        ask(store, SHORT)


def test_one_deadline_for_all_servers() -> None:
    with Peer(silent) as one, Peer(dribble) as two, Peer(answering()) as three:
        uris = (one.uri, two.uri, three.uri, refused_uri())
        with opened(*uris, connect_timeout=30) as store, in_time(), pytest.raises(DirectoryUnavailable) as caught:
            ask(store, SHORT)
        assert all(uri in str(caught.value) for uri in uris[:2])


def test_a_deadline_that_has_passed_asks_nobody() -> None:
    with Peer(silent) as peer, opened(peer.uri) as store:
        with pytest.raises(DeadlineExceeded):
            ask(store, 0)
        assert peer.accepted == 0


def test_a_frozen_server_is_given_up_in_time_and_heals(own_slapd: Slapd) -> None:
    with opened(own_slapd.uri) as store:
        assert dns(store) == [ANN_DN]
        own_slapd.suspend()
        try:
            with in_time(), pytest.raises(DirectoryUnavailable):
                ask(store, SHORT)
        finally:
            own_slapd.resume()
        assert dns(store) == [ANN_DN]


def test_everything_down_names_every_server() -> None:
    uris = [refused_uri(), refused_uri()]
    with opened(*uris) as store, pytest.raises(DirectoryUnavailable) as caught:
        ask(store)
    assert not isinstance(caught.value, DeadlineExceeded)
    assert all(uri in str(caught.value) for uri in uris)


# -- connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_heals_at_once(own_slapd: Slapd, how: str) -> None:
    with opened(own_slapd.uri) as store:
        for _ in range(3):
            assert dns(store) == [ANN_DN]
            getattr(own_slapd, how)()
            own_slapd.start()
        assert dns(store) == [ANN_DN]


def test_a_restart_heals_every_idle_connection(own_slapd: Slapd) -> None:
    with opened(own_slapd.uri) as store:
        assert _ask_together(store, 4) == [[ANN_DN]] * 4
        own_slapd.stop()
        own_slapd.start()
        assert _ask_together(store, 4) == [[ANN_DN]] * 4
        for _ in range(4):
            assert dns(store) == [ANN_DN]


def test_down_is_unavailable_and_up_is_fine_at_once(own_slapd: Slapd) -> None:
    with opened(own_slapd.uri) as store:
        assert dns(store) == [ANN_DN]
        own_slapd.stop()
        for _ in range(3):
            with pytest.raises(DirectoryUnavailable):
                ask(store)
        own_slapd.start()
        assert dns(store) == [ANN_DN]


def test_a_connection_is_used_again() -> None:
    with Peer(answering(found(ANN_DN, "ann"), DONE)) as peer, opened(peer.uri) as store:
        for _ in range(5):
            assert dns(store) == [ANN_DN]
        assert peer.accepted == 1


def test_a_connection_that_failed_is_not() -> None:
    with Peer(answering(peers.result(0x65, peers.BUSY))) as peer, opened(peer.uri) as store:
        for _ in range(3):
            with pytest.raises(DirectoryUnavailable):
                ask(store)
        assert peer.accepted == 3


def test_threads_never_share_a_connection(slapd: Slapd) -> None:
    with opened(slapd.uri) as store:
        assert _ask_together(store, 16) == [[ANN_DN]] * 16


def test_nothing_is_connected_before_the_first_search() -> None:
    with Peer(silent) as peer:
        with opened(peer.uri):
            pass
        assert peer.accepted == 0


def _ask_together(store: LdapStore, count: int) -> list[list[str]]:
    barrier, results = threading.Barrier(count), [[""] for _ in range(count)]

    def run(number: int) -> None:
        barrier.wait(AMPLE)
        results[number] = dns(store)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * AMPLE)
    return results


# -- bind -----------------------------------------------------------------------------------


def test_a_wrong_password_is_unavailable_and_never_told(slapd: Slapd) -> None:
    with opened(slapd.uri, read_password=lambda: "hunter2") as store, pytest.raises(DirectoryUnavailable) as caught:
        ask(store)
    assert MILTER_DN in str(caught.value)
    assert "bind" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_never_an_empty_answer(slapd: Slapd) -> None:
    with opened(slapd.uri, read_password=lambda: "wrong") as store:
        for _ in range(3):
            with pytest.raises(DirectoryUnavailable):
                ask(store)


def test_no_password_is_no_anonymous_bind(slapd: Slapd) -> None:
    # RFC 4513, section 5.1.2: a name with an empty password binds as nobody, and succeeds.
    with opened(slapd.uri, read_password=lambda: "") as store, pytest.raises(DirectoryUnavailable):
        ask(store)


def test_the_password_is_read_for_every_bind(own_slapd: Slapd) -> None:
    password = [MILTER_PASSWORD]
    with opened(own_slapd.uri, read_password=lambda: password[0]) as store:
        assert dns(store) == [ANN_DN]
        own_slapd.modify(f"dn: {MILTER_DN}\nchangetype: modify\nreplace: userPassword\nuserPassword: rotated\n")
        assert dns(store) == [ANN_DN]
        own_slapd.stop()
        own_slapd.start()
        with pytest.raises(DirectoryUnavailable):
            ask(store)
        password[0] = "rotated"
        assert dns(store) == [ANN_DN]


def test_a_password_file_that_is_gone_is_unavailable(own_slapd: Slapd) -> None:
    def gone() -> str:
        message = "bind_password_file = /run/secret: cannot be read"
        raise ConfigError(message)

    with (
        opened(own_slapd.uri, read_password=gone) as store,
        pytest.raises(DirectoryUnavailable, match="cannot be read"),
    ):
        ask(store)


# -- answers that are not whole -------------------------------------------------------------


def test_a_size_limit_is_unavailable_not_a_part_of_the_answer(own_slapd: Slapd) -> None:
    own_slapd.modify("dn: olcDatabase={2}mdb,cn=config\nchangetype: modify\nreplace: olcSizeLimit\nolcSizeLimit: 2\n")
    with opened(own_slapd.uri) as store:
        assert dns(store) == [ANN_DN]
        with pytest.raises(DirectoryUnavailable):
            store.search("", "sub", Present("zimbraMailAlias"), ("uid",), Deadline.after(AMPLE, time.monotonic))
        assert dns(store) == [ANN_DN]


@pytest.mark.parametrize(
    "operations",
    [
        (peers.result(0x65, peers.REFERRAL, ["ldap://other.test/dc=test"]),),
        (peers.reference("ldap://other.test/dc=test"), DONE),
        (found(ANN_DN, "ann"), peers.reference("ldap://other.test/dc=test"), DONE),
        (found(ANN_DN, "ann"), peers.result(0x65, peers.SIZE_LIMIT_EXCEEDED)),
        (found(ANN_DN, "ann"), peers.result(0x65, 3)),
        (found(ANN_DN, "ann"), peers.result(0x65, 11)),
        (found(ANN_DN, "ann"), peers.result(0x65, 80)),
    ],
    ids=["referral", "reference", "entry and reference", "size limit", "time limit", "admin limit", "other"],
)
def test_an_answer_that_is_not_whole_is_unavailable(operations: tuple[bytes, ...]) -> None:
    with Peer(answering(*operations)) as peer, opened(peer.uri) as store:
        for _ in range(2):
            with pytest.raises(DirectoryUnavailable) as caught:
                ask(store)
            assert peer.uri in str(caught.value)


def test_a_connection_that_breaks_in_mid_answer_is_unavailable() -> None:
    with Peer(answering(found(ANN_DN, "ann"), last=True)) as peer, opened(peer.uri) as store:
        with in_time(), pytest.raises(DirectoryUnavailable):
            ask(store)
        assert peer.accepted == 1


def test_a_base_that_may_not_be_seen_any_more_is_unavailable(own_slapd: Slapd) -> None:
    """OpenLDAP says noSuchObject of it, as if it had never been there."""
    with opened(own_slapd.uri) as store:
        for base, wanted in (("cn=cos,cn=zimbra", "zimbraCOS"), ("", "zimbraAccount")):
            assert _below(store, base, wanted)
            own_slapd.modify(
                "dn: olcDatabase={2}mdb,cn=config\nchangetype: modify\nadd: olcAccess\n"
                f'olcAccess: {{0}}to dn.subtree="{base}" by * none\n'
            )
            with pytest.raises(DirectoryUnavailable, match=r"noSuchObject.*search_base"):
                _below(store, base, wanted)


def _below(store: LdapStore, base: str, wanted: str) -> list[RawEntry]:
    question = Equal("objectClass", wanted)
    return store.search(base, "sub", question, ("cn",), Deadline.after(AMPLE, time.monotonic))


def test_what_is_not_utf_8_does_not_break_the_rest() -> None:
    attribute = peers.tlv(0x30, peers.tlv(0x04, b"uid") + peers.tlv(0x31, peers.tlv(0x04, b"\xff\xfe")))
    entry = peers.tlv(0x64, peers.tlv(0x04, b"uid=x") + peers.tlv(0x30, attribute))
    with Peer(answering(found(ANN_DN, "ann"), entry, DONE)) as peer, opened(peer.uri) as store:
        assert dns(store) == [ANN_DN, "uid=x"]


# -- TLS ------------------------------------------------------------------------------------


def _transport(slapd: Slapd, kind: str) -> str:
    return slapd.uri if kind == "starttls" else slapd.ldaps_uri


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_with_the_right_authority(slapd: Slapd, kind: str) -> None:
    with opened(_transport(slapd, kind), starttls=True, ca_file=slapd.ca_file) as store:
        assert dns(store) == [ANN_DN]
        assert dns(store) == [ANN_DN]


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_with_another_authority_it_is_unavailable_and_says_why(slapd: Slapd, kind: str, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    with opened(_transport(slapd, kind), starttls=True, ca_file=other) as store:
        with pytest.raises(DirectoryUnavailable) as caught:
            ask(store)
        assert "certificate" in str(caught.value).lower()


def test_the_systems_authorities_are_not_read_where_nothing_is_encrypted(
    slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda **given: made.append(given))
    with opened(slapd.uri) as store:
        assert dns(store) == [ANN_DN]
    assert made == []


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_without_an_authority_the_systems_do_not_know_it(slapd: Slapd, kind: str) -> None:
    with opened(_transport(slapd, kind), starttls=True) as store, pytest.raises(DirectoryUnavailable):
        ask(store)


def test_a_certificate_for_another_name_is_unavailable(slapd: Slapd) -> None:
    assert slapd.ca_file is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(slapd.directory / "server.pem", slapd.directory / "server.key")
    with (
        Peer(answering(found(ANN_DN, "ann"), DONE), host="127.0.0.2", tls=context) as peer,
        opened(peer.uri, ca_file=slapd.ca_file) as store,
        pytest.raises(DirectoryUnavailable) as caught,
    ):
        ask(store)
    assert "127.0.0.2" in str(caught.value)


def test_a_server_without_starttls_never_hears_the_password(own_slapd: Slapd) -> None:
    with opened(own_slapd.uri, starttls=True) as store, pytest.raises(DirectoryUnavailable):
        ask(store)
    assert f'BIND dn="{MILTER_DN}"' not in own_slapd.log()


@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_an_authority_that_cannot_be_used_is_a_config_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content, encoding="ascii")
    with pytest.raises(ConfigError) as caught:
        LdapStore(LdapSettings(uris=("ldaps://127.0.0.1",), ca_file=file), time.monotonic)
    assert "ca_file" in str(caught.value)
    assert str(file) in str(caught.value)


# -- ldapi ----------------------------------------------------------------------------------


def test_ldapi_with_a_name_and_without(slapd: Slapd) -> None:
    with opened(slapd.ldapi_uri, starttls=True) as store:
        assert dns(store) == [ANN_DN]
    # SASL EXTERNAL: the user that runs the tests, who may read nothing here.
    with opened(slapd.ldapi_uri, bind_dn="") as store:
        assert dns(store) == []
    assert "cn=peercred,cn=external,cn=auth" in slapd.log()


def test_ldapi_without_a_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "nobody").replace("/", "%2F")
    with opened(f"ldapi://{path}") as store, pytest.raises(DirectoryUnavailable):
        ask(store)


def test_substrings_reach_the_server(slapd: Slapd) -> None:
    with opened(slapd.uri) as store:
        found_entries = store.search(
            "",
            "sub",
            Substring("zimbraMailDeliveryAddress", ("a", "@example.test")),
            ("uid",),
            Deadline.after(AMPLE, time.monotonic),
        )
    assert [entry.dn for entry in found_entries] == [ANN_DN]


def test_closing_leaves_nothing_behind(slapd: Slapd) -> None:
    before = threading.active_count()
    with opened(slapd.uri) as store:
        assert _ask_together(store, 4) == [[ANN_DN]] * 4
    wait_until(lambda: threading.active_count() <= before, "the end of its threads")
