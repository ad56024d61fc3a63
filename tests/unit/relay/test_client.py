"""Handing a copy on to a server that behaves, and to servers that do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.delivery.next_hop import parse_next_hops
from ldapmilter.relay import outgoing as outgoing_module
from ldapmilter.relay.client import CopyClient
from ldapmilter.relay.outgoing import Outgoing
from ldapmilter.relay.terms import Terms
from ldapmilter.relay.wire import Wire
from tests.support.archive_server import DROP, SILENT, TAKE_AND_DROP, ArchiveServer
from tests.support.certificates import make_certificates
from tests.support.ports import HANG, LOOPBACK, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.relay.answers import ServerAnswer

MESSAGE = b"Subject: one\r\n\r\n.a dot\r\nand \xe9\r\n"


@pytest.fixture(name="archive")
def running_archive() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


def copy(message: bytes = MESSAGE, target: str = "vault@archive.example", sender: str = "") -> Outgoing:
    return Outgoing(target=target, sender=sender, chunks=lambda: iter([message]), eight_bit=not message.isascii())


def large(*, on_disk: bool = False) -> Outgoing:
    line = b"x" * 998 + b"\r\n"
    pieces = lambda: (line * 64 for _ in range(400))  # noqa: E731 - as the client calls it
    return Outgoing(target="v@a.example", sender="", chunks=pieces, on_disk=on_disk, eight_bit=False)


def client(starttls: str = "no", ca_file: Path | None = None) -> CopyClient:
    return CopyClient(Terms(host_name="relay.example", starttls=starttls, ca_file=ca_file))  # type: ignore[arg-type]


def hand_on(server: ArchiveServer, one: Outgoing, by: CopyClient | None = None, seconds: float = 60.0) -> ServerAnswer:
    (hop,) = parse_next_hops(server.next_hop)

    async def once() -> ServerAnswer:
        used = by or client()
        try:
            return await used.hand_on(hop, one, time.monotonic() + seconds)
        finally:
            used.close()

    return asyncio.run(once())


def test_octets_as_they_are(archive: ArchiveServer) -> None:
    answer = hand_on(archive, copy())
    assert (answer.becomes, answer.code, answer.text) == ("accepted", 250, "2.0.0 filed as 4711")
    assert answer.server == archive.next_hop
    (filed,) = archive.filed
    assert (filed.octets, filed.sender, filed.recipient) == (MESSAGE, "", "vault@archive.example")
    assert filed.mail == "MAIL FROM:<> BODY=8BITMIME"
    assert archive.commands[:4] == ["EHLO relay.example", filed.mail, "RCPT TO:<vault@archive.example>", "DATA"]


@pytest.mark.parametrize(("extensions", "message"), [((), MESSAGE), (("8BITMIME", "SIZE 10", "DSN"), b"plain\r\n")])
def test_no_parameter_that_is_not_needed_or_not_offered(extensions: tuple[str, ...], message: bytes) -> None:
    with ArchiveServer(extensions=extensions) as archive:
        assert hand_on(archive, copy(message, sender="relay@example.com")).becomes == "accepted"
        assert archive.filed[0].mail == "MAIL FROM:<relay@example.com>"
        assert archive.filed[0].octets == message


def test_lmtp_by_a_unix_socket(tmp_path: Path) -> None:
    with ArchiveServer("lmtp", path=tmp_path / "lmtp") as archive:
        assert hand_on(archive, copy()).becomes == "accepted"
        assert archive.commands[0] == "LHLO relay.example"
        assert archive.filed[0].octets == MESSAGE


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\n\r\nno header\r\n", b"x" * 5000 + b"\r\n", b".\r\n..\r\n"])
def test_odd_messages(archive: ArchiveServer, message: bytes) -> None:
    assert hand_on(archive, copy(message)).becomes == "accepted"
    assert archive.filed[0].octets == message


@pytest.mark.parametrize("moment", ["banner", "hello", "mail", "rcpt", "data", "end"])
@pytest.mark.parametrize("reply", ["451 4.3.0 later", "554 5.7.1 never", "421 4.3.2 closing", DROP, "what?"])
def test_an_answer_at_every_step(archive: ArchiveServer, moment: str, reply: str) -> None:
    archive.answers = {moment: reply}  # type: ignore[dict-item]
    answer = hand_on(archive, copy())
    refused = reply.startswith("554") and moment in {"rcpt", "data", "end"}
    assert answer.becomes == ("refused" if refused else "next hop")
    assert answer.step == moment
    if reply[:3].isdigit():
        assert (answer.code, answer.text) == (int(reply[:3]), reply[4:])
    else:
        assert answer.code is None
        assert answer.text
    assert archive.filed == []


def test_silence_ends(archive: ArchiveServer) -> None:
    archive.answers = {"rcpt": SILENT}
    answer = hand_on(archive, copy(), seconds=4.0)
    assert (answer.step, answer.code, answer.text) == ("rcpt", None, "nothing came in time")
    assert answer.hop_is_down


def test_a_message_whose_end_has_not_left_is_never_accepted_unheard() -> None:
    """Nothing of it may leave once its copy is reported as not through, however late the server begins to read."""
    with socket.create_server((LOOPBACK, 0)) as archive:
        gave_up = threading.Event()
        taken: list[bytes] = []

        def read_late() -> None:
            connection, _ = archive.accept()
            connection.settimeout(HANG)
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"220 x\r\n")
                for reply in (b"250 x\r\n", b"250 fine\r\n", b"250 fine\r\n", b"354 go on\r\n"):
                    connection.recv(1000)
                    connection.sendall(reply)
                assert gave_up.wait(HANG)
                while octets := connection.recv(1 << 20):
                    taken.append(octets[-5:])

        thread = threading.Thread(target=read_late)
        thread.start()
        (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{archive.getsockname()[1]}")

        passed = [0.0]

        def chunks() -> Iterator[bytes]:
            passed[0] = HANG - 1.0  # for the message a second is left, however long it took to get there
            return large().chunks()

        async def scene() -> ServerAnswer:
            one = CopyClient(Terms(host_name="relay.example", starttls="no"), lambda: time.monotonic() + passed[0])
            message = Outgoing(target="v@a.example", sender="", chunks=chunks, eight_bit=False)
            answer = await one.hand_on(hop, message, time.monotonic() + HANG)
            gave_up.set()
            await asyncio.get_running_loop().run_in_executor(None, thread.join, HANG)
            one.close()
            return answer

        answer = asyncio.run(scene())
    assert (answer.step, answer.code, answer.hop_is_down) == ("end", None, False)
    assert taken
    assert not taken[-1].endswith(b"\r\n.\r\n")


def accepted(archive: socket.socket, certificates: Path | None) -> socket.socket:
    """Return a connection on which the message comes next; certificates: it is encrypted."""
    connection, _ = archive.accept()
    connection.settimeout(HANG)
    connection.sendall(b"220 x\r\n")
    connection.recv(1000)
    connection.sendall(b"250-x\r\n250 STARTTLS\r\n")
    if certificates is not None:
        connection.recv(1000)
        connection.sendall(b"220 x\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        connection = context.wrap_socket(connection, server_side=True)
        connection.recv(1000)
        connection.sendall(b"250 x\r\n")
    for reply in (b"250 fine\r\n", b"250 fine\r\n", b"354 go on\r\n"):
        connection.recv(1000)
        connection.sendall(reply)
    return connection


@pytest.mark.parametrize(
    ("encrypted", "by_tls"), [(False, False), (True, False), (True, True)], ids=["clear", "encrypted", "close_notify"]
)
def test_a_server_that_says_no_more_in_the_middle_does_not_get_the_end(
    certificates: Path, *, encrypted: bool, by_tls: bool
) -> None:
    """It has closed its side, and reads on: whatever it takes, there is no word of it."""
    taken: list[bytes] = []
    with socket.create_server((LOOPBACK, 0)) as archive:

        def half_close() -> None:
            connection = accepted(archive, certificates if encrypted else None)
            with contextlib.suppress(OSError):
                connection.recv(10)
                # As much as can lie in buffers on the way has left by now, and the end has not.
                assert stuck.wait(HANG)
                if by_tls:
                    with contextlib.suppress(OSError):
                        connection.unwrap()  # type: ignore[attr-defined]
                    while octets := socket.socket.recv(connection, 1 << 20):
                        raw.append(len(octets))
                socket.socket.shutdown(connection, socket.SHUT_WR)
                while octets := connection.recv(1 << 20):
                    taken.append(octets[-5:])
            connection.close()

        raw: list[int] = []
        stuck = threading.Event()
        thread = threading.Thread(target=half_close)
        thread.start()
        (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{archive.getsockname()[1]}")

        def chunks() -> Iterator[bytes]:
            yield from large().chunks()
            stuck.set()

        async def scene() -> ServerAnswer:
            one = client("may" if encrypted else "no")
            wanted = Outgoing(target="v@a.example", sender="", chunks=chunks, eight_bit=False)
            asyncio.get_running_loop().call_later(1.0, stuck.set)
            answer = await one.hand_on(hop, wanted, time.monotonic() + HANG)
            await asyncio.get_running_loop().run_in_executor(None, thread.join, HANG)
            one.close()
            return answer

        answer = asyncio.run(scene())
    assert (answer.step, answer.code, answer.text) == ("end", None, "the connection was closed")
    assert not (taken and taken[-1].endswith(b"\r\n.\r\n"))
    assert sum(raw) < sum(map(len, large().chunks()))


@pytest.mark.parametrize(
    ("reply", "becomes", "code"), [(b"552 5.3.4 too big", "refused", 552), (b"250 2.0.0 fine", "next hop", None)]
)
def test_what_a_server_said_before_it_takes_no_more_is_heard(
    reply: bytes, becomes: str, code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((LOOPBACK, 0)) as archive:
        gone = threading.Event()

        def refuse() -> None:
            connection, _ = archive.accept()
            connection.settimeout(HANG)
            with connection:
                connection.sendall(b"220 x\r\n")
                for answer in (b"250 x\r\n", b"250 fine\r\n", b"250 fine\r\n", b"354 go on\r\n"):
                    connection.recv(1000)
                    connection.sendall(answer)
                connection.recv(10)
                connection.sendall(reply + b"\r\n")
            gone.set()  # what it has not read makes it a reset

        thread = threading.Thread(target=refuse)
        thread.start()
        sent: list[float] = []

        async def without_a_look(_wire: Wire, until: float) -> None:
            if sent:  # the second piece meets a server that is gone, and asyncio has not read since
                assert gone.wait(HANG)
            sent.append(until)

        monkeypatch.setattr(Wire, "_until_room", without_a_look)
        (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{archive.getsockname()[1]}")

        async def scene() -> ServerAnswer:
            one = client()
            answer = await one.hand_on(hop, large(), time.monotonic() + HANG)
            one.close()
            return answer

        answer = asyncio.run(scene())
        thread.join(HANG)
    assert (answer.step, answer.becomes, answer.code) == ("end", becomes, code)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("reply", "becomes", "code"), [(b"552 5.3.4 too big", "refused", 552), (b"250 2.0.0 fine", "next hop", None)]
)
def test_what_a_server_says_before_the_end_has_left_accepts_nothing(
    certificates: Path,
    reply: bytes,
    becomes: str,
    code: int | None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    encrypted: bool,
) -> None:
    async def without_a_look(_wire: Wire, _until: float) -> None:
        """All of it is written at once, and waits for a server that reads no more."""

    monkeypatch.setattr(Wire, "_until_room", without_a_look)
    with socket.create_server((LOOPBACK, 0)) as archive:
        heard = threading.Event()

        def answer_early() -> None:
            connection = accepted(archive, certificates if encrypted else None)
            connection.recv(10)
            connection.sendall(reply + b"\r\n")
            assert heard.wait(HANG)
            connection.close()

        thread = threading.Thread(target=answer_early)
        thread.start()
        (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{archive.getsockname()[1]}")

        async def scene() -> ServerAnswer:
            one = client("may" if encrypted else "no")
            answer = await one.hand_on(hop, large(), time.monotonic() + HANG)
            heard.set()
            one.close()
            return answer

        answer = asyncio.run(scene())
        thread.join(HANG)
    assert (answer.step, answer.becomes, answer.code) == ("end", becomes, code)


def test_what_was_taken_without_a_word_is_in_doubt(archive: ArchiveServer) -> None:
    archive.answers = {"end": TAKE_AND_DROP}
    answer = hand_on(archive, copy())
    assert (answer.becomes, answer.step, answer.text) == ("next hop", "end", "the connection was closed")
    assert len(archive.filed) == 1


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_large_message_goes_through(archive: ArchiveServer, *, on_disk: bool) -> None:
    assert hand_on(archive, large(on_disk=on_disk)).becomes == "accepted"
    assert archive.filed[0].octets == b"".join(large().chunks())


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_message_that_cannot_be_read_to_its_end_is_not_accepted(archive: ArchiveServer, *, on_disk: bool) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise OSError(5, "Input/output error")

    one = Outgoing(target="v@a.example", sender="", chunks=chunks, on_disk=on_disk, eight_bit=False)
    answer = hand_on(archive, one)
    assert (answer.becomes, answer.step, answer.text) == ("next hop", "end", "Input/output error")
    assert archive.filed == []


def test_a_disk_that_gives_nothing_of_a_message_is_not_waited_for(
    archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has other copies to take."""
    monkeypatch.setattr(outgoing_module, "DISK_SECONDS", 0.0)
    answers = threading.Event()

    def chunks() -> Iterator[bytes]:
        answers.wait(HANG)
        yield MESSAGE

    one = Outgoing(target="v@a.example", sender="", chunks=chunks, on_disk=True, eight_bit=True)
    (hop,) = parse_next_hops(archive.next_hop)

    async def scene() -> ServerAnswer:
        used = client()
        answer = await used.hand_on(hop, one, time.monotonic() + HANG)
        used.close()
        answers.set()
        return answer

    answer = asyncio.run(scene())
    assert (answer.becomes, answer.step, answer.text) == (
        "next hop",
        "end",
        "the disk has the message and does not answer",
    )
    assert not answer.hop_is_down
    assert archive.filed == []


@pytest.mark.parametrize(
    ("reply", "becomes"), [("552 5.3.4 too big", "refused"), ("250 2.0.0 fine", "next hop"), (DROP, "next hop")]
)
def test_cut_off_in_the_middle_of_the_message(archive: ArchiveServer, reply: str, becomes: str) -> None:
    archive.answers = {"content": reply, "end": "451 4.3.0 no"}
    answer = hand_on(archive, large())
    assert (answer.step, answer.becomes) == ("end", becomes)
    assert archive.filed == []


def test_nobody_is_there() -> None:
    (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{free_port()}")
    answer = asyncio.run(client().hand_on(hop, copy(), time.monotonic() + HANG))
    assert (answer.step, answer.code, answer.text) == ("connect", None, "Connection refused")
    assert answer.hop_is_down


def test_a_connection_is_used_again_and_its_loss_is_not_the_copys(archive: ArchiveServer) -> None:
    (hop,) = parse_next_hops(archive.next_hop)

    async def scene() -> None:
        one = client()
        for _ in range(3):
            assert (await one.hand_on(hop, copy(), time.monotonic() + HANG)).becomes == "accepted"
        assert archive.connections == 1
        with archive.away():
            pass
        assert (await one.hand_on(hop, copy(), time.monotonic() + HANG)).becomes == "accepted"
        closings = ["421 4.3.2 enough"]
        archive.choose = lambda moment, _: closings.pop() if moment == "mail" and closings else None
        assert (await one.hand_on(hop, copy(), time.monotonic() + HANG)).becomes == "accepted"
        assert archive.connections == 3
        one.close()

    asyncio.run(scene())
    assert [filed.octets for filed in archive.filed] == [MESSAGE] * 5


def test_a_refused_copy_leaves_nothing_behind_for_the_next(archive: ArchiveServer) -> None:
    (hop,) = parse_next_hops(archive.next_hop)
    archive.choose = lambda moment, who: "550 5.1.1 nobody" if moment == "rcpt" and who.startswith("no") else None

    async def scene() -> None:
        one = client()
        for target in ("no@a.example", "yes@a.example", "no@a.example"):
            expected = "refused" if target.startswith("no") else "accepted"
            assert (await one.hand_on(hop, copy(target=target), time.monotonic() + HANG)).becomes == expected
        one.close()

    asyncio.run(scene())
    assert [filed.recipient for filed in archive.filed] == ["yes@a.example"]


def test_an_address_cannot_break_out_of_its_command(archive: ArchiveServer) -> None:
    with pytest.raises(ValueError, match="control character"):
        hand_on(archive, copy(target="a@b\r\nDATA"))


@pytest.mark.parametrize("early", ["354 go on\r\n250 2.0.0 filed", "250 2.1.5 fine\r\n354 go on\r\n250 2.0.0 filed"])
def test_a_reply_that_came_before_the_message_accepts_nothing(archive: ArchiveServer, early: str) -> None:
    archive.answers = {"data" if early.startswith("354") else "rcpt": early, "end": "554 5.7.1 never"}
    answer = hand_on(archive, copy())
    assert answer.becomes == "next hop"
    assert "before" in answer.text


def test_what_says_no_end_or_no_reply() -> None:
    with socket.create_server((LOOPBACK, 0)) as babbler:

        def babble() -> None:
            connection, _ = babbler.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"220-" + b"x" * 100_000)
                connection.settimeout(HANG)
                connection.recv(1)

        thread = threading.Thread(target=babble)
        thread.start()
        (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{babbler.getsockname()[1]}")
        answer = asyncio.run(client().hand_on(hop, copy(), time.monotonic() + HANG))
        thread.join()
    assert (answer.step, answer.code, answer.text) == ("banner", None, "what it says has no end")


@pytest.fixture(name="certificates", scope="module")
def made_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates")).parent


@pytest.mark.parametrize(
    ("starttls", "offered", "trusted", "becomes", "encrypted"),
    [
        ("no", True, True, "accepted", False),
        ("may", False, True, "accepted", False),
        ("may", True, False, "accepted", True),
        ("must", True, True, "accepted", True),
        ("must", True, False, "next hop", None),
        ("must", False, True, "next hop", None),
    ],
)
def test_starttls(
    certificates: Path, starttls: str, *, offered: bool, trusted: bool, becomes: str, encrypted: bool | None
) -> None:
    pair = (certificates / "server.pem", certificates / "server.key") if offered else None
    with ArchiveServer(certificate=pair) as archive:
        one = client(starttls, certificates / "ca.pem" if trusted else None)
        answer = hand_on(archive, copy(), one)
        assert answer.becomes == becomes
        assert [filed.encrypted for filed in archive.filed] == ([] if encrypted is None else [encrypted])
        if encrypted is None:
            assert answer.step == "tls"
            assert ("certificate" if offered else "does not offer STARTTLS") in answer.text


def test_may_goes_on_in_the_clear_where_encryption_fails(certificates: Path) -> None:
    with ArchiveServer(certificate=(certificates / "server.pem", certificates / "server.key")) as archive:
        archive.answers = {"tls": "454 4.7.0 not now"}
        assert hand_on(archive, copy(), client("may")).becomes == "accepted"
        assert not archive.filed[0].encrypted


def test_a_reply_that_came_encrypted_in_the_middle_accepts_nothing(certificates: Path) -> None:
    with ArchiveServer(certificate=(certificates / "server.pem", certificates / "server.key")) as archive:
        archive.answers = {"content": "250 2.0.0 filed", "end": "554 5.7.1 never"}
        came = threading.Event()
        say = archive._act
        many = b"more\r\n" * 20_000  # more than is gathered before it is sent

        def act(session: Any, told: str) -> None:
            say(session, told)
            if told.endswith("filed"):
                came.set()

        archive._act = act  # type: ignore[method-assign]

        def chunks() -> Iterator[bytes]:
            yield MESSAGE
            yield many
            came.wait(HANG)
            yield from [many] * 2

        one = Outgoing(target="vault@archive.example", sender="", chunks=chunks, eight_bit=True)
        answer = hand_on(archive, one, client("may"))
    assert answer.becomes == "next hop"


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(("moment", "reply"), [("mail", "550 5.7.1 who"), ("rcpt", "550 5.1.1 nobody"), ("mail", DROP)])
def test_a_refusal_is_that_of_its_step_however_many_are_told_at_once(
    pipelining: bool,  # noqa: FBT001 - both
    moment: str,
    reply: str,
) -> None:
    with ArchiveServer(extensions=["PIPELINING"] if pipelining else []) as archive:
        archive.answers = {moment: reply}  # type: ignore[dict-item]
        answer = hand_on(archive, copy())
        assert (answer.step, answer.code) == (moment, None if reply == DROP else 550)
        assert archive.filed == []
        assert "DATA" not in archive.commands
        archive.answers = {}
        assert hand_on(archive, copy()).becomes == "accepted"


def test_a_connection_that_served_while_all_were_let_go_of_is_let_go_of(archive: ArchiveServer) -> None:
    """Nobody would use it again, or hang up."""
    (hop,) = parse_next_hops(archive.next_hop)
    told, may_answer = threading.Event(), threading.Event()

    def choose(moment: str, _who: str) -> None:
        if moment == "end":
            told.set()
            assert may_answer.wait(HANG)

    archive.choose = choose

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        one = client()
        copies = asyncio.ensure_future(one.hand_on(hop, copy(), time.monotonic() + HANG))
        await loop.run_in_executor(None, told.wait, HANG)
        one.close()
        may_answer.set()
        assert (await copies).becomes == "accepted"
        await loop.run_in_executor(None, wait_until, lambda: "QUIT" in archive.commands, "the end of the connection")

    asyncio.run(scene())


def test_a_name_that_is_slow_to_be_found_holds_up_nobody_else(
    archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket.getaddrinfo
    may_fail = threading.Event()
    asked: list[str] = []

    def find(host: Any, *more: Any, **named: Any) -> Any:
        asked.append(host)
        if host == "slow.example":
            assert may_fail.wait(HANG)
            raise socket.gaierror(-2, "Name or service not known")
        return found(LOOPBACK, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", find)
    slow, fast = parse_next_hops(f"smtp:[slow.example]:25 smtp:[fast.example]:{archive.port}")

    async def scene() -> None:
        one = client()
        waiting = [asyncio.ensure_future(one.hand_on(slow, copy(), time.monotonic() + HANG)) for _ in range(50)]
        answer = await one.hand_on(fast, large(on_disk=True), time.monotonic() + HANG)
        assert answer.becomes == "accepted"
        assert not any(each.done() for each in waiting)
        may_fail.set()
        answers = await asyncio.gather(*waiting)
        assert {(each.step, each.code, each.text) for each in answers} == {
            ("connect", None, "Name or service not known")
        }
        one.close()

    try:
        asyncio.run(scene())
    finally:
        may_fail.set()
    assert asked.count("slow.example") == 1


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.2", archive.port))
        silent.listen(0)
        full = [socket.socket() for _ in range(3)]
        for one in full:
            one.setblocking(False)  # noqa: FBT003 - the standard library's signature
            one.connect_ex(("127.0.0.2", archive.port))

        def find(_host: Any, port: int, **_named: Any) -> Any:
            family, kind = socket.AF_INET, socket.SOCK_STREAM
            return [(family, kind, 6, "", (address, port)) for address in ("127.0.0.2", LOOPBACK)]

        monkeypatch.setattr(socket, "getaddrinfo", find)
        (hop,) = parse_next_hops(f"smtp:[two.example]:{archive.port}")

        async def scene() -> ServerAnswer:
            mine = client()
            answer = await mine.hand_on(hop, copy(), time.monotonic() + 8.0)
            mine.close()
            return answer

        answer = asyncio.run(scene())
        for one in full:
            one.close()
    assert answer.becomes == "accepted"


@pytest.mark.parametrize("starttls", ["may", "must"])
@pytest.mark.parametrize("shakes", ["hangs up", "is silent"])
def test_a_server_that_offers_encryption_and_does_not_shake_hands(starttls: str, shakes: str) -> None:
    filed: list[bytes] = []
    with socket.create_server((LOOPBACK, 0)) as archive:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(HANG)
                connection.sendall(b"220 x\r\n")
                connection.recv(1000)
                connection.sendall(b"250-x\r\n250 STARTTLS\r\n")
                if connection.recv(1000).startswith(b"STARTTLS"):
                    connection.sendall(b"220 x\r\n")
                    while shakes == "is silent" and connection.recv(1000):
                        pass
                    connection.recv(1000)
                    return
                for reply in (b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
                    connection.sendall(reply)
                    filed.append(connection.recv(1000))
                connection.sendall(b"250 2.0.0 filed\r\n")

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(archive.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        (hop,) = parse_next_hops(f"smtp:[{LOOPBACK}]:{archive.getsockname()[1]}")

        seconds = 8.0 if shakes == "is silent" else HANG

        async def scene() -> ServerAnswer:
            one = client(starttls)
            answer = await one.hand_on(hop, copy(), time.monotonic() + seconds)
            one.close()
            return answer

        answer = asyncio.run(scene())
        archive.shutdown(socket.SHUT_RDWR)
    if starttls == "may":
        assert (answer.becomes, len(filed)) == ("accepted", 3)
    else:
        text = "nothing came in time" if shakes == "is silent" else "the connection was closed"
        assert (answer.step, answer.code, answer.text, answer.silent) == ("tls", None, text, shakes == "is silent")


def test_no_time_is_left() -> None:
    (hop,) = parse_next_hops("smtp:[slow.example]:25")
    answer = asyncio.run(client().hand_on(hop, copy(), time.monotonic() - 1.0))
    assert (answer.step, answer.code, answer.text) == ("connect", None, "nothing came in time")
