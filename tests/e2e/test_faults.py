"""Directory servers that are half dead: mail never waits for them, and the next server takes over.

Every line of the scene is a daemon and a proxy between it and its (first) directory server; what
the proxy does to the answers is the fault.  Nobody asks twice for the same stranger, so every
message has to ask the directory.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, TransactionOutcome, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import ARCHIVE, company
from tests.support.builders import account
from tests.support.certificates import make_certificates
from tests.support.daemon import Daemon
from tests.support.names import zimbra_id
from tests.support.ports import HANG, LOOPBACK, free_port, wait_until
from tests.support.proxy import DRIBBLE, PASS, REFUSE, Manner, Proxy, cut, delayed, reset, stalled
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.unit.directory import peers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.record import Record

DEADLINE = 6.0
CONNECT = 0.5
DOWN_FOR = 2.0
"""Seconds for which a server that failed is left alone."""
_LDAP = {"lookup_deadline": f"{DEADLINE:g}", "connect_timeout": f"{CONNECT:g}"}
BIND_ANSWER = 14  # octets: the answer to a bind, or to StartTLS
IN_MID_ANSWER = 100
PEOPLE = 9000
STORM = 20  # connections per second
LOOKS = 2  # connections by which a daemon finds out for itself whether a server is back
NUMBERS = itertools.count()
QUEUED = 60.0
"""Seconds that sixty-four sessions take when four at a time wait for a deadline of five seconds."""
SLOWEST: dict[str, float] = {}


def records() -> list[Record]:
    """Return the company and strangers, whose COS wants an archive of what they send."""
    sales = zimbra_id("cos", "sales")
    strangers = [one for number in range(PEOPLE) for one in account(f"s{number}@example.test", cos_id=sales)]
    return merge([*company(), *strangers])


@dataclass(frozen=True)
class Line:
    """A daemon and what it believes to be its first directory server."""

    daemon: Daemon
    proxy: Proxy

    def ask(self, sender: str | None = None) -> tuple[TransactionOutcome, str]:
        """Hand in a message of a stranger; return what came of it, and its line in the log."""
        who = sender or stranger()
        message = Transaction(
            sender=who,
            login=who,
            recipients=["bob@example.test"],
            headers=[("From", who)],
            queue_id=f"Q{next(NUMBERS)}Z",
        )
        with MilterClient.connect(parse_socket(self.daemon.socket), HANG) as client:
            outcome = client.run(message)
        return outcome, self.daemon.said(f"{message.queue_id}:")[-1]

    def decides(self) -> float:
        """Expect a right decision, so in time; return the seconds it took."""
        outcome, line = self.ask()
        assert outcome.verdict is Verdict.ACCEPT, line
        assert [added.address for added in outcome.added_recipients] == [ARCHIVE], line
        return outcome.seconds

    def waits(self) -> tuple[float, str]:
        """Expect 451; return the seconds it took and the cause, which the audit has and the log has not."""
        outcome, line = self.ask()
        assert outcome.verdict is Verdict.TEMPFAIL, line
        assert (outcome.reply or "").startswith("451 4.3.0")
        assert "warning=" not in line
        audit = (self.daemon.directory / "audit.jsonl").read_text(encoding="ascii")
        queue_id = line.split(": ", 1)[0].rsplit(" ", 1)[-1]
        # Those of others may be half written.
        (kept,) = (json.loads(one) for one in audit.splitlines() if f'"queue_id":"{queue_id}"' in one)
        return outcome.seconds, " ".join(kept["warnings"])

    def heals(self) -> None:
        """Wait until a message is decided."""
        wait_until(lambda: self.ask()[0].verdict is Verdict.ACCEPT, "a decision", pause=0.05)


def left_alone(line: Line) -> None:
    """Expect that a server which has just failed is not asked again before its time."""
    began, connections = time.monotonic(), line.proxy.connections
    for _ in range(3):
        line.decides()
    assert line.proxy.connections - connections <= (time.monotonic() - began) // DOWN_FOR + 1 + LOOKS


def stranger() -> str:
    return f"s{next(NUMBERS)}@example.test"


def port_of(uri: str) -> int:
    return int(uri.rpartition(":")[2])


@dataclass(frozen=True)
class Scene:
    """One directory server, one that only the faults use, and the lines by name."""

    slapd: Slapd
    victim: Slapd
    lines: Mapping[str, Line]

    def target(self, how: str) -> int:
        """Return the port of the server that a line speaks to."""
        return port_of(self.slapd.ldaps_uri if how == "ldaps" else self.slapd.uri)


TRANSPORTS = ("plain", "starttls", "ldaps")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        slapd = stack.enter_context(Slapd(records(), tls=True))
        victim = stack.enter_context(Slapd(company()))
        lines: dict[str, Line] = {}
        for how in TRANSPORTS:
            own = slapd.ldaps_uri if how == "ldaps" else slapd.uri
            for name, others in ((how, ""), (f"{how} and another", f" {own}")):
                proxy = stack.enter_context(Proxy(port_of(own)))
                uri = (proxy.ldaps_uri if how == "ldaps" else proxy.uri) + others
                options = {**_LDAP, "uri": uri, "starttls": "yes" if how == "starttls" else "no"}
                lines[name] = Line(Daemon(slapd, {"ldap": options}), proxy)
        daemons = [line.daemon for line in lines.values()]
        for daemon in daemons:
            stack.callback(daemon.close)
        with ThreadPoolExecutor(len(daemons)) as pool:
            list(pool.map(Daemon.start, daemons))
            list(pool.map(Line.heals, lines.values()))
        yield Scene(slapd, victim, lines)
        for daemon in daemons:
            assert "Traceback" not in daemon.log()
    slowest = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in sorted(SLOWEST.items()))
    sys.stdout.write(f"\nslowest answers: {slowest}\n")


# -- the faults -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What is wrong with the server behind the proxies."""

    how: str
    manner: Manner = PASS
    answers: tuple[bytes, ...] = ()
    """What a scripted server says to every search."""
    bind: int = peers.SUCCESS
    frozen: bool = False
    word: str = ""
    """What the text says beside the server's name."""


INVALID_CREDENTIALS = 49
FAULTS = {
    "never answers the bind": Fault("plain", stalled()),
    "never answers the search": Fault("plain", stalled(BIND_ANSWER)),
    "stops in mid-answer": Fault("plain", stalled(IN_MID_ANSWER)),
    "dribbles": Fault("plain", DRIBBLE),
    "resets at once": Fault("plain", reset()),
    "resets in mid-answer": Fault("plain", reset(IN_MID_ANSWER)),
    "closes in mid-answer": Fault("plain", cut(IN_MID_ANSWER)),
    "refuses connections": Fault("plain", REFUSE),
    "is slower than the deadline": Fault("plain", delayed(DEADLINE + 0.5)),
    "is frozen": Fault("plain", frozen=True),
    "refers elsewhere": Fault(
        "plain", answers=(peers.result(0x65, peers.REFERRAL, ["ldap://other.test/"]),), word="referral"
    ),
    "continues elsewhere": Fault(
        "plain", answers=(peers.reference("ldap://other.test/"), peers.result(0x65, 0)), word="refers"
    ),
    "limits the answer": Fault(
        "plain",
        answers=(peers.found("uid=x,dc=test", "x"), peers.result(0x65, peers.SIZE_LIMIT_EXCEEDED)),
        word="sizeLimitExceeded",
    ),
    "is busy": Fault("plain", answers=(peers.result(0x65, peers.BUSY),), word="busy"),
    "is too busy to bind": Fault("plain", answers=(b"",), bind=peers.BUSY, word="busy"),
    "does not know the password": Fault("plain", answers=(b"",), bind=INVALID_CREDENTIALS, word="invalidCredentials"),
    "never answers StartTLS": Fault("starttls", stalled()),
    "stops before the handshake": Fault("starttls", stalled(BIND_ANSWER)),
    "stops in the handshake": Fault("starttls", stalled(IN_MID_ANSWER)),
    "dribbles the handshake": Fault("starttls", DRIBBLE),
    "resets in the handshake": Fault("starttls", reset(IN_MID_ANSWER)),
    "never begins TLS": Fault("ldaps", stalled()),
    "stops in the TLS handshake": Fault("ldaps", stalled(IN_MID_ANSWER)),
    "dribbles the TLS handshake": Fault("ldaps", DRIBBLE),
}


@contextlib.contextmanager
def broken(scene: Scene, fault: Fault) -> Iterator[tuple[Line, Line]]:
    """Break the server of two lines: one that has no other, and one that has."""
    lines = scene.lines[fault.how], scene.lines[f"{fault.how} and another"]
    with contextlib.ExitStack() as stack:
        target = scene.target(fault.how)
        if fault.answers:
            target = stack.enter_context(peers.Peer(peers.answering(*fault.answers, bind=fault.bind))).port
        elif fault.frozen:
            target = port_of(scene.victim.uri)
            scene.victim.suspend()
            stack.callback(scene.victim.resume)
        for line in lines:
            line.proxy.target = target
            line.proxy.switch(fault.manner)
        try:
            yield lines
        finally:
            for line in lines:
                line.proxy.target = scene.target(fault.how)
                line.proxy.switch(PASS)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_half_dead_server(scene: Scene, kind: str) -> None:
    fault = FAULTS[kind]
    with broken(scene, fault) as (alone, paired), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(alone.waits)
        first = paired.decides()
        left_alone(paired)
        seconds, text = waiting.result(HANG)
        SLOWEST[kind] = max(seconds, first)
        if seconds < DEADLINE - 0.5:  # it failed before the deadline did
            assert f":{alone.proxy.port}" in text
        assert fault.word in text
    alone.heals()
    paired.heals()


def test_a_name_that_does_not_resolve(scene: Scene) -> None:
    name = f"ldap://ldap1.nowhere.invalid:{free_port()}"
    options = [{**_LDAP, "starttls": "no", "uri": uri} for uri in (name, f"{name} {scene.slapd.uri}")]
    with contextlib.ExitStack() as stack:
        alone, paired = (
            Line(stack.enter_context(Daemon(scene.slapd, {"ldap": one})), scene.lines["plain"].proxy) for one in options
        )
        for _ in range(4):
            paired.decides()
        _, text = alone.waits()
        assert name in text


@pytest.mark.parametrize("how", ["plain", pytest.param("starttls"), pytest.param("ldaps")])
def test_the_text_names_a_server_that_never_answers(scene: Scene, how: str) -> None:
    line = scene.lines[how]
    line.proxy.switch(stalled(BIND_ANSWER if how == "starttls" else 0))
    try:
        with ThreadPoolExecutor(4) as pool:
            texts = [text for _, text in pool.map(lambda _: line.waits(), range(4))]
    finally:
        line.proxy.switch(PASS)
    for text in texts:
        assert f":{line.proxy.port}" in text


def test_a_server_that_drops_what_it_is_sent(scene: Scene) -> None:
    """Nothing ever answers a connect: a firewall in between, or a host that is gone."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind((LOOPBACK, free_port()))
        hole.listen(0)
        # A full queue of connections that nobody accepts: the kernel drops the next one.
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(hole.getsockname())
        uri = f"ldap://{LOOPBACK}:{hole.getsockname()[1]}"
        options = [{**_LDAP, "starttls": "no", "uri": one} for one in (uri, f"{uri} {scene.slapd.uri}")]
        alone, paired = (
            Line(stack.enter_context(Daemon(scene.slapd, {"ldap": one})), scene.lines["plain"].proxy) for one in options
        )
        for _ in range(4):
            paired.decides()
        _, text = alone.waits()
        assert uri in text


def test_a_resolver_that_hangs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def slow(host: bytes | str, *arguments: Any, **options: Any) -> Any:
        # The proxies of this module ask, too, and with text.
        if host == b"ldap1.slow.test":
            time.sleep(0.6)  # and ldap3 asks more than once
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver does not answer")
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    settings = LdapSettings(
        uris=("ldap://ldap1.slow.test:389", scene.slapd.uri),
        bind_dn=scene.slapd.bind_dn,
        read_password=lambda: scene.slapd.password,
        starttls=False,
        connect_timeout=CONNECT,
    )
    store = LdapStore(settings, time.monotonic)
    try:
        deadline = Deadline.after(DEADLINE, time.monotonic)
        assert store.search("", "sub", Equal("uid", "bob"), ("uid",), deadline)
    finally:
        store.close()


def test_a_connection_that_a_firewall_forgot(scene: Scene) -> None:
    """What was open is dead and nobody says so; the server is fine, and so is a new connection."""
    line = scene.lines["plain"]
    line.decides()
    old = line.proxy.connections
    line.proxy.forget()
    try:
        line.decides()
        assert line.proxy.connections > old
    finally:
        line.proxy.switch(PASS)
        line.heals()


# -- many messages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "manner",
    [
        pytest.param(stalled(), id="silent"),
        pytest.param(reset(), id="resets"),
        pytest.param(cut(IN_MID_ANSWER), id="closes"),
    ],
)
def test_a_server_that_is_down_is_not_stormed(scene: Scene, manner: Manner) -> None:
    """However many messages ask, the attempts per second stay bounded."""
    line = scene.lines["plain"]
    line.proxy.switch(manner)
    before, seconds, asked = line.proxy.connections, 1.5, itertools.count()
    began = time.monotonic()
    until = began + seconds

    def ask(_number: int) -> None:
        while time.monotonic() < until:
            line.waits()
            next(asked)

    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(16)))
        attempts, seconds = line.proxy.connections - before, time.monotonic() - began
        sys.stdout.write(f"\n{next(asked)} messages in {seconds:.1f} s, {attempts} connections attempted\n")
        assert attempts <= STORM * seconds
    finally:
        line.proxy.switch(PASS)
        line.heals()


def test_sixty_four_sessions_that_ask_for_one_sender_cost_one(scene: Scene) -> None:
    line, slapd = scene.lines["plain"], scene.slapd

    def cost(sessions: int) -> int:
        who = stranger()
        gate = threading.Barrier(sessions)

        def one(_number: int) -> TransactionOutcome:
            gate.wait(HANG)
            return line.ask(who)[0]

        with ThreadPoolExecutor(sessions) as pool:
            outcomes = list(pool.map(one, range(sessions)))
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPT}
        assert all(len(outcome.added_recipients) == 1 for outcome in outcomes)
        # Of this sender: searches of those who were given up a moment ago may still go on.
        return sum(who in search.filter for search in slapd.search_log())

    # Long enough for others to come meanwhile; the check of readability shares the proxy and its delays.
    line.proxy.switch(delayed(0.02))
    try:
        alone = cost(1)
        assert alone > 0
        assert 1 <= cost(64) <= alone
    finally:
        line.proxy.switch(PASS)


def test_sixty_four_sessions_share_a_failure(scene: Scene) -> None:
    line, who = scene.lines["plain"], stranger()
    line.proxy.switch(stalled())
    before, began = line.proxy.connections, time.monotonic()
    try:
        with ThreadPoolExecutor(64) as pool:
            outcomes = list(pool.map(lambda _: line.ask(who)[0], range(64)))
    finally:
        line.proxy.switch(PASS)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TEMPFAIL}
    SLOWEST["64 sessions, silent"] = max(outcome.seconds for outcome in outcomes)
    # Who comes when the others have had their answer asks anew.
    late = max(0.0, time.monotonic() - began - DEADLINE - 1)
    assert line.proxy.connections - before <= 4 + LOOKS + late // DOWN_FOR
    line.heals()


def test_sessions_do_not_queue_up_behind_each_others_deadlines(scene: Scene) -> None:
    """More sessions than libmilter serves at once, all of different people, while the server is frozen."""
    deadline, sessions = 5.0, 64
    options = {"ldap": {"lookup_deadline": f"{deadline:g}"}, "identity": {"unknown_login": "accept"}}
    with Daemon(scene.victim, options) as daemon:

        def ask(number: int) -> tuple[Verdict, float]:
            who = f"x{number}@example.test"
            message = Transaction(sender=who, login=who, recipients=[who], headers=[("From", who)])
            began = time.monotonic()
            with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
                outcome = client.run(message)
            return outcome.verdict, time.monotonic() - began

        wait_until(lambda: ask(0)[0] is Verdict.ACCEPT, "the first decision")
        scene.victim.suspend()
        try:
            with ThreadPoolExecutor(sessions) as pool:
                answers = list(pool.map(ask, range(1, sessions + 1)))
            # Now it is known to hang: who comes later is told so, and does not wait for it.
            late = [ask(number) for number in range(100, 100 + sessions)]
        finally:
            scene.victim.resume()
        assert {verdict for verdict, _ in answers} == {Verdict.TEMPFAIL}
        SLOWEST[f"{sessions} sessions, frozen, deadline {deadline:g} s"] = slowest = max(spent for _, spent in answers)
        assert slowest < QUEUED
        assert {verdict for verdict, _ in late} == {Verdict.TEMPFAIL}
        assert sum(spent for _, spent in late) < QUEUED
        wait_until(lambda: ask(sessions)[0] is Verdict.ACCEPT, "a decision", pause=0.05)


# -- what is replaced while the daemon runs -------------------------------------------------


@pytest.fixture
def own() -> Iterator[tuple[Slapd, Line]]:
    """Return a directory server that the test may change, with its line."""
    with Slapd(records(), tls=True) as slapd, Proxy(port_of(slapd.uri)) as proxy:
        options = {**_LDAP, "uri": proxy.uri, "ca_file": str(slapd.ca_file)}
        with Daemon(slapd, {"ldap": options}) as daemon:
            line = Line(daemon, proxy)
            line.heals()
            yield slapd, line
            assert "Traceback" not in daemon.log()


def test_a_password_that_is_rotated_needs_no_restart(own: tuple[Slapd, Line]) -> None:
    slapd, line = own
    slapd.modify(f"dn: {slapd.bind_dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: rotated\n")
    line.decides()  # what is bound stays bound
    line.proxy.switch(PASS)
    _, text = line.waits()
    assert "invalidCredentials" in text
    (line.daemon.directory / "ldap.secret").write_text("rotated\n", encoding="utf-8")
    line.decides()


def test_an_authority_that_is_replaced_needs_no_restart(own: tuple[Slapd, Line]) -> None:
    slapd, line = own
    slapd.stop()
    make_certificates(slapd.directory)
    slapd.start()
    line.proxy.switch(PASS)
    line.decides()
