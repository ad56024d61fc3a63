"""``ldapmilter copies``: what is shown, to whom, with which status; what is refused before anything is asked."""

from __future__ import annotations

import json
import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.cli import copies as verb
from ldapmilter.cli import copies_watch
from ldapmilter.cli.main import main
from ldapmilter.postfix.transport import Route
from ldapmilter.socket_address import parse_socket
from tests.support.ports import HANG
from tests.unit.relay.states import NOW, Copies, token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.postfix.transport import RouteState

ADDRESS = "vault@archive.example.net"


class Place:
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.copies = Copies(folder / "state.db")
        self.patch = patch
        self.listen = folder / "relay.sock"
        self.slept: list[float] = []
        self.asked: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.route = Route("routed", "a table")
        relay = SimpleNamespace(
            listen=parse_socket(f"unix:{self.listen}"),
            state=self.copies.path,
            late_after=900.0,
            domain="copies.invalid",
            postfix_dir=None,
        )
        patch.setattr(copies_watch, "ask_postfix", lambda *_: self.route)
        patch.setattr(verb, "load", lambda _file: SimpleNamespace(relay=relay))
        patch.setattr(verb, "ask", self.ask)
        patch.setattr(verb, "time", SimpleNamespace(time=lambda: NOW, sleep=self.slept.append))
        self.relay = relay

    def ask(self, _file: str, request: dict[str, Any], takes: float) -> dict[str, Any]:
        assert takes > 0
        self.asked.append(request)
        return self.answers.pop(0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path, monkeypatch)
    yield made
    made.copies.state.close()


@pytest.fixture
def greeting(place: Place) -> Iterator[None]:
    """A relay that greets once."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.listen))
        listening.listen()

        def greet() -> None:
            with listening.accept()[0] as peer:
                peer.sendall(b"220 mta1 LMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        yield
        thread.join(HANG)


def test_waiting_and_kept_oldest_first(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.waiting(1, 60)
    place.copies.ended(2, 7200, "refused")
    place.copies.ended(3, 30, "accepted")
    place.copies.decided(4, 30)
    assert main(["copies"]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == [token(2), token(1)]
    assert [line.split() for line in lines[:3]] == [
        ["AGE", "STATE", "DOMAIN", "CODE", "TRIES", "CLASS", "TOKEN"],
        ["2", "h", "kept", "archive.example.net", "550", "1", "archive", token(2)],
        ["1", "min", "0", "s", "waiting", "archive.example.net", "452", "1", "archive", token(1)],
    ]
    assert lines[3] == "1 copy waiting, the oldest for 1 min 0 s; 1 copy kept; 1 copy decided that did not come"
    assert ADDRESS not in out


def test_addresses_for_those_who_ask(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.ended(2, 7200, "refused")
    assert main(["copies", "--addresses"]) == 1
    assert f"550 {ADDRESS} is full" in capsys.readouterr().out


def test_nothing_is_wrong(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.ended(3, 30, "accepted")
    assert main(["copies"]) == 0
    assert capsys.readouterr().out == "0 copies waiting; 0 copies kept\n"


@pytest.mark.parametrize("spelt", ["<3@example.com>", "3@example.com"])
def test_those_of_a_message(place: Place, capsys: pytest.CaptureFixture[str], spelt: str) -> None:
    place.copies.ended(3, 30, "accepted")
    assert main(["copies", "--message-id", spelt]) == 0
    assert "accepted" in capsys.readouterr().out
    assert main(["copies", "--message-id", "4@example.com"]) == 1


def test_all_but_what_did_not_come_for_days(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.ended(1, 30, "accepted")
    place.copies.decided(2, 30)
    place.copies.decided(3, 6 * 86_400)
    assert main(["copies", "--all"]) == 0
    out = capsys.readouterr().out
    assert (token(1) in out, token(2) in out, token(3) in out) == (True, True, False)


def test_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.waiting(1, 60)
    assert main(["copies", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"waiting": 1, "oldest_seconds": 60.0, "kept": 0, "unseen": 0, "stopped_seconds": None}
    assert told["copies"] == [
        {
            "token": token(1),
            "state": "waiting",
            "fate": None,
            "classes": ["archive"],
            "delivery": "tracked",
            "domain": "archive.example.net",
            "queue_id": "4Tq1",
            "message_id": "<1@example.com>",
            "decided": "2026-06-15T09:59:00Z",
            "seen": "2026-06-15T09:59:00Z",
            "tried": "2026-06-15T09:59:00Z",
            "ended": None,
            "age_seconds": 60.0,
            "attempts": 1,
            "code": 452,
        }
    ]
    assert main(["copies", "--json", "--addresses"]) == 0
    assert json.loads(capsys.readouterr().out)["copies"][0]["target"] == ADDRESS


def test_without_a_state(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.relay.state = place.relay.state.with_name("none")
    assert main(["copies"]) == 0
    assert "no copy has come yet" in capsys.readouterr().out


@pytest.mark.usefixtures("greeting")
@pytest.mark.parametrize(
    ("ago", "status", "line"),
    [
        (60, 0, "LDAPMILTER OK - 1 copy waiting, the oldest for 1 min 0 s; 0 copies kept"),
        (1000, 1, "LDAPMILTER WARNING - 1 copy waiting, the oldest for 16 min 40 s; 0 copies kept"),
        (20_000, 2, "LDAPMILTER CRITICAL - 1 copy waiting, the oldest for 5 h 33 min; 0 copies kept"),
    ],
)
def test_nagios(place: Place, capsys: pytest.CaptureFixture[str], ago: float, status: int, line: str) -> None:
    place.copies.waiting(1, ago)
    assert main(["copies", "--nagios"]) == status
    data = f"waiting=1;;;0 oldest={ago}s;900;14400;0 kept=0;;0;0 unseen=0;;;0"
    assert capsys.readouterr().out == f"{line} | {data}\n"


def test_nagios_without_a_relay(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.waiting(1, 10)
    assert main(["copies", "--nagios"]) == 2
    assert "CRITICAL - the relay does not answer at" in capsys.readouterr().out


@pytest.mark.usefixtures("greeting")
@pytest.mark.parametrize(
    ("state", "status", "told"),
    [
        ("not routed", 2, "CRITICAL - copies are not routed to the relay"),
        ("unknown", 1, "WARNING - it is not known whether copies are routed to the relay"),
    ],
)
def test_nagios_where_postfix_hands_nothing_over(
    place: Place, capsys: pytest.CaptureFixture[str], state: RouteState, status: int, told: str
) -> None:
    place.copies.ended(3, 30, "accepted")
    place.route = Route(state, "transport_maps is empty")
    assert main(["copies", "--nagios"]) == status
    assert f"{told}: transport_maps is empty; 0 copies waiting" in capsys.readouterr().out


def test_nagios_says_the_worst_of_all_and_all_of_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.waiting(1, 1000)
    place.route = Route("unknown", "a table is denied")
    assert main(["copies", "--nagios"]) == 2
    out = capsys.readouterr().out
    assert out.startswith("LDAPMILTER CRITICAL - it is not known whether copies are routed")
    assert "the relay does not answer at" in out
    assert "1 copy waiting" in out


def test_nagios_with_a_state_that_cannot_be_read(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.copies.path.with_name("other").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    place.relay.state = place.copies.path.with_name("other")
    assert main(["copies", "--nagios"]) == 3
    assert capsys.readouterr().out.startswith("LDAPMILTER UNKNOWN - ")


def test_a_state_below_what_is_no_directory(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.relay.state = place.copies.path / "below"
    assert main(["copies"]) == 1
    assert capsys.readouterr().err.endswith("the relay's state cannot be read: Not a directory\n")


def test_all_kept_copies_are_sent_again_oldest_first(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2, 3):
        place.copies.ended(number, 1000 + number, "kept")
    done = {"state": "resent", "code": 250, "reply": f"{ADDRESS} ok", "why": "", "server": "smtp:[x]:25"}
    failed = {**done, "state": "unchanged", "code": 550, "why": "it was not accepted"}
    place.answers = [
        {"results": [{**(failed if number == 2 else done), "token": token(number)}]} for number in (3, 2, 1)
    ]
    assert main(["copies", "--resend", "--to", "Other@example.com"]) == 1
    assert place.asked == [
        {"verb": "copies", "action": "resend", "to": "Other@example.com", "tokens": [token(number)]}
        for number in (3, 2, 1)
    ]
    assert place.slept == [0.1, 0.1]
    assert capsys.readouterr().out.splitlines() == [
        f"{token(3)}  resent 250",
        f"{token(2)}  unchanged 550: it was not accepted",
        f"{token(1)}  resent 250",
    ]


def test_a_relay_that_does_not_serve(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.answers = [{"unreachable": "the copy relay does not serve"}]
    assert main(["copies", "--resend", token(1)]) == 4
    assert "the copy relay does not serve" in capsys.readouterr().err


def test_nothing_to_send_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copies", "--resend"]) == 0
    assert capsys.readouterr().out == "nothing is kept\n"
    assert not place.asked


def test_discarding(place: Place) -> None:
    place.answers = [{"results": [{"token": token(1), "state": "discarded", "code": None, "reply": "", "why": "x"}]}]
    assert main(["copies", "--discard", token(1), "--why", "a test message"]) == 0
    assert place.asked == [{"verb": "copies", "action": "discard", "tokens": [token(1)], "why": "a test message"}]


def test_learning(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.answers = [{"lines": 12}]
    assert main(["copies", "--learn", str(tmp_path / "audit")]) == 0
    assert place.asked == [{"verb": "copies", "action": "learn", "file": str(tmp_path / "audit")}]
    assert capsys.readouterr().out == "took over 12 lines that tell of copies\n"


def test_learning_from_what_tells_of_no_copies(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.answers = [{"lines": 0}]
    file = tmp_path / "passwd"
    assert main(["copies", "--learn", str(file)]) == 1
    assert f"{file}: no line tells of copies: name the audit of a host with a copy relay" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ["--discard", "--why", "x"],
        ["--discard", token(1)],
        ["--discard", token(1), "--why", " "],
        ["--to", ADDRESS],
        ["--why", "x"],
        ["--learn", "file", token(1)],
        ["--nagios", "--all"],
        ["--nagios", token(1)],
        ["--resend", "--message-id", "x"],
        ["--resend", "--discard", token(1)],
        ["abc"],
    ],
)
def test_what_does_not_belong_together(place: Place, given: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["copies", *given])
    assert ended.value.code == 2
    assert not place.asked


@pytest.mark.parametrize("spelt", ["{}@copies.invalid", "<{}@copies.invalid>", " {} "])
def test_a_token_as_the_mail_log_and_a_report_have_it(place: Place, spelt: str) -> None:
    place.copies.ended(3, 30, "accepted")
    assert main(["copies", spelt.format(token(3))]) == 0


@pytest.mark.parametrize("leave", ["waiting", "kept"])
def test_what_a_relay_that_is_configured_no_more_has_left_behind(
    place: Place, capsys: pytest.CaptureFixture[str], leave: str
) -> None:
    place.relay.listen = None
    place.copies.waiting(1, 30) if leave == "waiting" else place.copies.ended(1, 30, "kept")
    main(["copies"])
    out = capsys.readouterr().out
    assert token(1) in out
    assert "[relay] listen is empty: no relay hands on what is kept" in out
    assert main(["copies", "--nagios"]) == 2
    assert "CRITICAL - [relay] listen is empty" in capsys.readouterr().out
    assert main(["copies", "--resend"]) == 2


def test_no_relay_is_configured_and_none_has_left_anything(place: Place) -> None:
    place.relay.listen = None
    place.copies.ended(1, 30, "accepted")
    assert (main(["copies"]), main(["copies", "--nagios"])) == (2, 3)


def test_no_relay_is_configured(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.relay.listen = None
    assert main(["copies"]) == 2
    assert "[relay] listen is empty" in capsys.readouterr().err
