"""The client against the real thing: libmilter, driven by a small milter in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.headers import read_message
from ldapmilter.mta.stream import ConnectionClosedError
from ldapmilter.mta.transaction import Client, EnvelopeAddress, Transaction, TransactionOutcome, Verdict
from ldapmilter.mta.wire import Action, Protocol, Stage
from ldapmilter.socket_address import SocketAddress, parse_socket
from tests.support.ports import HANG, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What the milter does is the local part of the sender. It reports the events it saw in X-Events.
MILTER = r"""
import sys, milter as m

no_reply = sys.argv[2] == "no-reply"
sessions = {}

def negotiate(ctx, options):
    options[0] = m.ADDRCPT | m.ADDRCPT_PAR | m.DELRCPT | m.CHGHDRS | m.ADDHDRS | m.CHGFROM | m.CHGBODY | m.SETSYMLIST
    options[1] = m.P_SKIP
    if no_reply:
        options[1] |= m.P_NR_CONN | m.P_NR_MAIL | m.P_NR_RCPT | m.P_NOHELO | m.P_NOEOH | m.P_NOBODY
        ctx.setsymlist(m.M_CONNECT, "j {client_addr}")
    options[2] = options[3] = 0
    return m.CONTINUE

def saw(ctx, event):
    state = ctx.getpriv()
    if state is None:
        state = {"events": [], "sender": ""}
        ctx.setpriv(state)
    state["events"].append(event)
    return state

def connect(ctx, host, family, address):
    saw(ctx, "connect=%s/%s/%s" % (host, address[0], ctx.getsymval("{client_addr}")))
    return m.CONTINUE

def helo(ctx, name):
    saw(ctx, "helo=" + name)
    return m.CONTINUE

def envfrom(ctx, address, *params):
    # Everything before belongs to the message before, except for the greeting.
    state = saw(ctx, "mail=" + address.decode("latin-1") + "/" + str(ctx.getsymval("{auth_authen}")))
    state["events"] = [e for e in state["events"][:-1] if e[:4] in ("conn", "helo")] + state["events"][-1:]
    state["sender"] = address.decode("latin-1").strip("<>").split("@")[0]
    return m.TEMPFAIL if state["sender"] == "mail-tempfail" else m.CONTINUE

def envrcpt(ctx, address, *params):
    text = address.decode("latin-1")
    saw(ctx, "rcpt=" + text + "/" + str(ctx.getsymval("i")))
    if "unknown" in text and not no_reply:
        ctx.setreply("550", "5.1.1", "nobody here")
        return m.REJECT
    return m.CONTINUE

def data(ctx):
    sender = saw(ctx, "data=" + str(ctx.getsymval("i")))["sender"]
    if sender == "later":
        ctx.setreply("451", "4.3.0", "the directory is down, 100%% sure")
        return m.TEMPFAIL
    if sender == "crash":
        import os
        os._exit(1)
    return {"reject": m.REJECT, "discard": m.DISCARD, "accept": m.ACCEPT}.get(sender, m.CONTINUE)

def header(ctx, name, value):
    state = saw(ctx, "header=" + name)
    return m.SKIP if state["sender"] == "skip" else m.CONTINUE

def eoh(ctx):
    saw(ctx, "eoh")
    return m.CONTINUE

def body(ctx, chunk):
    state = saw(ctx, "body=%d" % len(chunk))
    return m.SKIP if state["sender"] == "skip" else m.CONTINUE

def eom(ctx):
    state = saw(ctx, "eom")
    if state["sender"] == "copies":
        ctx.addrcpt("<vault@example.test>", "NOTIFY=NEVER")
        ctx.addrcpt("plain@example.test")
        ctx.delrcpt("<bob@example.test>")
    elif state["sender"] == "from":
        ctx.chgheader("From", 1, "Legal <legal@example.test>")
        ctx.chgheader("from", 2, None)
        ctx.chgheader("From", 2, None)
        ctx.chgheader("From", 2, None)
        ctx.chgheader("Reply-To", 1, "added@example.test")
        ctx.addheader("X-Top", "top", 0)
        ctx.chgfrom("<legal@example.test>")
    elif state["sender"] == "body":
        ctx.replacebody(b"x" * 100000)
    elif state["sender"] == "progress":
        ctx.progress()
    ctx.addheader("X-Events", " ".join(state["events"]))
    return m.CONTINUE

def abort(ctx):
    print("abort", flush=True)
    return m.CONTINUE

def close(ctx):
    ctx.setpriv(None)
    print("close", flush=True)
    return m.CONTINUE

m.set_connect_callback(connect)
m.set_helo_callback(helo)
m.set_envfrom_callback(envfrom)
m.set_envrcpt_callback(envrcpt)
m.set_header_callback(header)
m.set_eoh_callback(eoh)
m.set_body_callback(body)
m.set_eom_callback(eom)
m.set_abort_callback(abort)
m.set_close_callback(close)
m.register("scripted", data=data, negotiate=negotiate, unknown=None)
m.setconn(sys.argv[1])
m.opensocket(True)
print("ready", flush=True)
m.main()
"""

HEADERS: list[tuple[str, str | bytes]] = [
    ("Received", "from a"),
    ("From", "ann@example.test"),
    ("from", "two"),
    ("Subject", b"caf\xe9"),
    ("FROM", "3"),
]


def message(does: str, **more: object) -> Transaction:
    values: dict[str, object] = {
        "recipients": ["bob@example.test"],
        "headers": HEADERS,
        "body": b"hello\n",
        "queue_id": "4QID",
    }
    return Transaction(sender=f"{does}@example.test", **(values | more))  # type: ignore[arg-type]


def events(outcome: TransactionOutcome) -> list[str]:
    """The events that the milter says it saw."""
    (seen,) = [value for name, value in outcome.headers_after if name == b"X-Events"]
    return seen.decode("latin-1").split()


@contextmanager
def milter(address: SocketAddress, mode: str = "replies") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", MILTER, address.libmilter, mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module", params=["unix", "inet", "inet6"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SocketAddress:
    if request.param == "unix":
        return SocketAddress(kind="unix", path=str(tmp_path_factory.mktemp("m") / "s"))
    family, host = (socket.AF_INET, "127.0.0.1") if request.param == "inet" else (socket.AF_INET6, "::1")
    port = free_port()
    with socket.create_server((host, port), family=family):
        pass  # a loopback without ::1 is an error that says so
    return parse_socket(f"{request.param}:{port}@{host}")


@pytest.fixture(scope="module")
def running(address: SocketAddress) -> Iterator[SocketAddress]:
    with milter(address):
        yield address


@pytest.fixture
def client(running: SocketAddress) -> Iterator[MilterClient]:
    with MilterClient.connect(running, HANG) as connected:
        yield connected


def test_the_negotiation_is_understood(client: MilterClient) -> None:
    assert client.negotiated.version == 6
    assert client.negotiated.actions & Action.ADDRCPT_PAR
    assert client.negotiated.protocol & Protocol.SKIP
    assert not client.negotiated.protocol & Protocol.NR_MAIL


def test_every_event_arrives(client: MilterClient) -> None:
    outcome = client.run(message("plain", login="ann", recipients=["bob@example.test", "eve@example.test"]))

    assert (outcome.verdict, outcome.stage) == (Verdict.ACCEPT, Stage.EOM)
    assert events(outcome) == [
        "connect=localhost/127.0.0.1/None",
        "helo=localhost",
        "mail=<plain@example.test>/ann",
        "rcpt=<bob@example.test>/None",
        "rcpt=<eve@example.test>/4QID",
        "data=4QID",
        *(f"header={name}" for name, _ in HEADERS),
        "eoh",
        "body=7",
        "eom",
    ]
    assert outcome.headers_after[:-1] == tuple(
        (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in HEADERS
    )


def test_copies_are_added_with_their_parameters(client: MilterClient) -> None:
    outcome = client.run(message("copies"))

    assert outcome.added_recipients == (
        EnvelopeAddress(address="vault@example.test", parameters=("NOTIFY=NEVER",)),
        EnvelopeAddress(address="plain@example.test"),
    )
    assert outcome.deleted_recipients == ("bob@example.test",)


def test_from_is_changed_and_its_doubles_go(client: MilterClient) -> None:
    outcome = client.run(message("from"))

    assert outcome.changed_sender == "legal@example.test"
    assert [header for header in outcome.headers_after if header[0] != b"X-Events"] == [
        (b"X-Top", b"top"),
        (b"Received", b"from a"),
        (b"From", b"Legal <legal@example.test>"),
        (b"Subject", b"caf\xe9"),
        (b"Reply-To", b"added@example.test"),
    ]
    assert [one.kind for one in outcome.header_modifications] == [*["change"] * 5, "insert", "add"]


def test_skip_spares_the_rest_of_headers_and_body_of_that_message(client: MilterClient) -> None:
    long = b"x" * 200_000 + b"\n"
    spared = client.run(message("skip", body=long))
    whole = client.run(message("plain", body=long))

    assert [event for event in events(spared) if event[:4] in ("head", "body")] == ["header=Received", "body=65535"]
    assert [event for event in events(whole) if event.startswith("body")] == [
        "body=65535",
        "body=65535",
        "body=65535",
        f"body={200_002 - 3 * 65535}",
    ]
    assert spared.bytes_sent < whole.bytes_sent / 2
    assert whole.replies_awaited - spared.replies_awaited == len(HEADERS) - 1 + 3 - 2  # two more were the greeting's


@pytest.mark.parametrize(
    ("does", "verdict", "stage", "reply"),
    [
        ("reject", Verdict.REJECT, Stage.DATA, "550 5.7.1 Command rejected"),
        ("later", Verdict.TEMPFAIL, Stage.DATA, "451 4.3.0 the directory is down, 100% sure"),
        ("mail-tempfail", Verdict.TEMPFAIL, Stage.MAIL, "451 4.7.1 Service unavailable - try again later"),
        ("discard", Verdict.DISCARD, Stage.DATA, None),
        ("accept", Verdict.ACCEPT, Stage.DATA, None),
        ("progress", Verdict.ACCEPT, Stage.EOM, None),
    ],
)
def test_verdicts_and_the_message_after(
    client: MilterClient, does: str, verdict: Verdict, stage: Stage, reply: str | None
) -> None:
    outcome = client.run(message(does))
    assert (outcome.verdict, outcome.stage, outcome.reply) == (verdict, stage, reply)

    after = client.run(message("plain"))
    assert after.verdict is Verdict.ACCEPT
    assert events(after)[2] == "mail=<plain@example.test>/None"


def test_a_refused_recipient_leaves_the_others(client: MilterClient) -> None:
    outcome = client.run(message("plain", recipients=["unknown@example.test", "bob@example.test"]))

    assert outcome.verdict is Verdict.ACCEPT
    assert [(one.address, one.reply) for one in outcome.recipients_rejected] == [
        ("unknown@example.test", "550 5.1.1 nobody here")
    ]
    alone = client.run(message("plain", recipients=["unknown@example.test"]))
    assert (alone.verdict, alone.stage, alone.reply) == (Verdict.REJECT, Stage.RCPT, "550 5.1.1 nobody here")
    assert client.run(message("plain")).verdict is Verdict.ACCEPT


def test_a_body_is_replaced(client: MilterClient) -> None:
    assert client.run(message("body")).replaced_body == b"x" * 100_000


def test_mail_of_sendmail_has_its_queue_id_at_rcpt(client: MilterClient) -> None:
    outcome = client.run(message("plain", bracketed=False))
    assert events(outcome)[2:4] == ["mail=plain@example.test/None", "rcpt=bob@example.test/4QID"]


def test_a_file_goes_through_as_it_is(client: MilterClient) -> None:
    headers, body = read_message(b"From: ann@example.test\r\nSubject: a\r\n\tb\r\n\r\nhello\r\n")
    outcome = client.run(message("plain", headers=headers, body=body))
    assert outcome.headers_after[1] == (b"Subject", b"a\n\tb")


def test_ipv6_clients_are_understood(running: SocketAddress) -> None:
    with MilterClient.connect(running, HANG) as client:
        outcome = client.run(message("plain", client=Client(name="unknown", address="2001:db8::1", port=25, helo=None)))
    assert events(outcome)[0] == "connect=[2001:db8::1]/2001:db8::1/None"


def test_what_is_not_asked_for_is_not_sent_nor_waited_for(tmp_path: Path) -> None:
    address = SocketAddress(kind="unix", path=str(tmp_path / "s"))
    with milter(address, "no-reply"):
        for as_postfix in (True, False):
            with MilterClient.connect(address, HANG, as_postfix=as_postfix) as client:
                first = client.run(message("skip", body=b"x" * 100_000))
                second = client.run(message("accept"))
            assert events(first) == [
                "connect=localhost/127.0.0.1/127.0.0.1",
                "mail=<skip@example.test>/None",
                "rcpt=<bob@example.test>/None",
                "data=4QID",
                "header=Received",
                "eom",
            ]
            assert first.replies_awaited == 3
            assert (second.stage, second.replies_awaited) == (Stage.DATA, 1)


def test_abort_reaches_the_milter_inside_a_message_only(tmp_path: Path) -> None:
    address = SocketAddress(kind="unix", path=str(tmp_path / "s"))
    with milter(address) as process:
        assert process.stdout is not None
        with MilterClient.connect(address, HANG) as client:
            client.run(message("plain"))
        assert process.stdout.readline() == "close\n"
        with MilterClient.connect(address, HANG) as client:
            client.run(message("plain", recipients=["unknown@example.test"]))
        assert process.stdout.readline() == "abort\n"
        assert process.stdout.readline() == "close\n"


def test_a_milter_that_dies_is_an_error_at_once(tmp_path: Path) -> None:
    address = SocketAddress(kind="unix", path=str(tmp_path / "s"))
    with (
        milter(address),
        MilterClient.connect(address, HANG) as client,
        pytest.raises(ConnectionClosedError, match=str(address)),
    ):
        client.run(message("crash"))
