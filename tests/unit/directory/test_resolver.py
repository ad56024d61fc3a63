"""Names are resolved beside the mail, never in its way; and every address of a server is tried."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.hosts import host_addresses
from ldapmilter.directory.ldap.resolver import NotAnswered, NotResolved, Resolver
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.errors import DirectoryUnavailable
from tests.support.ports import HANG, LOOPBACK, wait_until
from tests.support.slapd import Slapd
from tests.unit.directory import peers
from tests.unit.directory.hand import Clock
from tests.unit.directory.peers import Peer, answering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOST = "ldap1.example.test"
AMPLE = 20.0
A_MOMENT = 0.05
_GETADDRINFO = socket.getaddrinfo


@dataclass
class Dns:
    """The system's resolver, as it is made to behave."""

    addresses: Sequence[str] = ("192.0.2.1",)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)
    """Cleared: whoever asks waits."""

    def getaddrinfo(self, host: bytes, port: int, *_arguments: Any, **_options: Any) -> list[Any]:
        if host != HOST.encode():
            return _GETADDRINFO(host, port, *_arguments, **_options)
        self.asked.append(HOST)
        assert self.answers.wait(HANG)
        if self.error is not None:
            raise self.error
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
            for text in self.addresses
        ]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dns]:
    made = Dns()
    made.answers.set()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.answers.set()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "resolver"], "the resolver's threads")


def texts(resolver: Resolver, seconds: float = AMPLE) -> list[str]:
    return [address[4][0] for address in resolver.addresses(HOST, 389, seconds)]


def test_a_second_question_is_free(dns: Dns) -> None:
    resolver = Resolver(Clock())
    assert texts(resolver) == texts(resolver) == ["192.0.2.1"]
    assert dns.asked == [HOST]


def test_it_is_asked_again_after_a_minute(dns: Dns) -> None:
    clock = Clock()
    resolver = Resolver(clock)
    texts(resolver)
    dns.addresses = ("2001:db8::2", "192.0.2.2")
    clock.now += 61
    assert texts(resolver) == ["2001:db8::2", "192.0.2.2"]


def test_an_address_is_nobodys_question(dns: Dns) -> None:
    del dns
    resolver = Resolver(Clock())
    for text in ("192.0.2.7", "::1"):
        resolver.addresses(text, 389, 0)
    assert not [one for one in threading.enumerate() if one.name == "resolver"]


def test_who_waits_waits_no_longer_than_they_can_and_the_answer_serves_the_next(dns: Dns) -> None:
    dns.answers.clear()
    resolver = Resolver(Clock())
    for _ in range(5):
        with pytest.raises(NotAnswered, match=HOST):
            texts(resolver, A_MOMENT)
    assert dns.asked == [HOST]
    dns.answers.set()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "resolver"], "the late answer")
    assert texts(resolver, 0) == ["192.0.2.1"]
    assert dns.asked == [HOST]


def test_many_who_ask_share_one_question(dns: Dns) -> None:
    dns.answers.clear()
    resolver, found = Resolver(Clock()), []
    threads = [threading.Thread(target=lambda: found.append(texts(resolver))) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(dns.asked), "the question")
    dns.answers.set()
    for thread in threads:
        thread.join(HANG)
    assert found == [["192.0.2.1"]] * 16
    assert dns.asked == [HOST]


def test_what_a_name_meant_last_stands_in_while_nobody_answers(dns: Dns) -> None:
    clock = Clock()
    resolver = Resolver(clock)
    texts(resolver)
    clock.now += 3600
    dns.answers.clear()
    assert texts(resolver) == ["192.0.2.1"]
    dns.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    dns.answers.set()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "resolver"], "the failure")
    assert texts(resolver) == ["192.0.2.1"]


def test_a_name_that_is_gone_is_gone(dns: Dns) -> None:
    clock = Clock()
    resolver = Resolver(clock)
    texts(resolver)
    clock.now += 3600
    dns.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    for _ in range(2):
        with pytest.raises(NotResolved, match=HOST):
            texts(resolver)


def test_threads_that_never_return_are_replaced_and_bounded(dns: Dns) -> None:
    clock = Clock()
    resolver = Resolver(clock)
    dns.answers.clear()
    for _ in range(20):
        with pytest.raises(NotAnswered):
            texts(resolver, 0)
        clock.now += 61
    assert 2 <= len(dns.asked) <= 4


# -- mailbox servers ------------------------------------------------------------------------


def test_a_mailbox_server_that_no_longer_exists_is_left_out(dns: Dns, caplog: pytest.LogCaptureFixture) -> None:
    dns.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert host_addresses([HOST], Resolver(Clock())) == frozenset()
    assert HOST in caplog.text


def test_a_mailbox_server_that_could_not_be_asked_for_is_not_left_out(dns: Dns) -> None:
    dns.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with pytest.raises(DirectoryUnavailable, match=HOST):
        host_addresses([HOST], Resolver(Clock()))


# -- LDAP servers ---------------------------------------------------------------------------


def ask(uris: tuple[str, ...], seconds: float = AMPLE, **settings: Any) -> list[str]:
    store = LdapStore(LdapSettings(uris=uris, **{"starttls": False, **settings}), time.monotonic)
    try:
        found = store.search("", "sub", Equal("uid", "ann"), ("uid",), Deadline.after(seconds, time.monotonic))
    finally:
        store.close()
    return [entry.dn for entry in found]


ANSWER = answering(peers.found("uid=ann", "ann"), peers.result(0x65, peers.SUCCESS))


@pytest.mark.parametrize("addresses", [("::1", LOOPBACK), (LOOPBACK, "::1"), ("127.0.0.2", "::1", LOOPBACK)])
def test_every_address_of_a_server_is_tried(dns: Dns, addresses: Sequence[str]) -> None:
    dns.addresses = addresses
    with Peer(ANSWER) as peer:  # listens at one of them only
        assert ask((f"ldap://{HOST}:{peer.port}",)) == ["uid=ann"]
    assert dns.asked == [HOST]


def test_the_first_address_may_swallow_everything(dns: Dns) -> None:
    dns.addresses = ("127.0.0.2", LOOPBACK)
    with socket.socket() as hole, socket.socket() as one, socket.socket() as two, Peer(ANSWER) as peer:
        hole.bind(("127.0.0.2", peer.port))
        hole.listen(0)
        for filler in (one, two):
            filler.settimeout(0)
            filler.connect_ex(hole.getsockname())
        assert ask((f"ldap://{HOST}:{peer.port}",), connect_timeout=0.5) == ["uid=ann"]


@pytest.mark.parametrize("starttls", [False, True])
def test_the_certificate_has_to_name_the_host_not_the_address(dns: Dns, *, starttls: bool) -> None:
    dns.addresses = (LOOPBACK,)
    with Slapd([], tls=True) as slapd:
        uri = f"ldap://{HOST}:{slapd.uri.rpartition(':')[2]}"
        if not starttls:
            uri = f"ldaps://{HOST}:{slapd.ldaps_uri.rpartition(':')[2]}"
        with pytest.raises(DirectoryUnavailable, match="certificate is not valid"):
            ask((uri,), starttls=starttls, ca_file=slapd.ca_file)


def test_a_wrong_password_is_tried_at_one_address_only(dns: Dns) -> None:
    dns.addresses = (LOOPBACK, LOOPBACK)
    with Peer(answering(bind=49)) as peer:
        with pytest.raises(DirectoryUnavailable, match="invalidCredentials"):
            ask((f"ldap://{HOST}:{peer.port}",), bind_dn="uid=x", read_password=lambda: "wrong")
        assert peer.accepted == 1


def test_a_resolver_that_hangs_is_given_up_for_a_server_that_has_an_address(dns: Dns) -> None:
    dns.answers.clear()
    with Peer(ANSWER) as peer:
        uris = (f"ldap://{HOST}:389", f"ldap://{LOOPBACK}:{peer.port}")
        assert ask(uris, connect_timeout=0.5) == ["uid=ann"]


def test_a_resolver_that_hangs_keeps_nobody_past_the_deadline(dns: Dns) -> None:
    dns.answers.clear()
    began = time.monotonic()
    with pytest.raises(DirectoryUnavailable, match=HOST):
        ask((f"ldap://{HOST}:389",), 1.0)
    assert time.monotonic() - began < HANG
