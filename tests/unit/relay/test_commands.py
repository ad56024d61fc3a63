"""What an administrator does with kept copies while something goes wrong with them, or the relay ends."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.relay import commands as commands_module
from ldapmilter.relay.adoption import adopt
from ldapmilter.relay.commands import CommandRefused
from ldapmilter.relay.kept import KeepError
from ldapmilter.relay.replies import DONE
from tests.support.ports import HANG, wait_until
from tests.support.relay import new_token
from tests.unit.relay.test_handling import MESSAGE, Office, server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.relay.outgoing import Outgoing

LONG = b"Subject: one\r\n\r\n" + b"text \xe9\r\n" * 30_000


@pytest.fixture(name="office")
def open_office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


def kept(office: Office, count: int = 1, octets: bytes = MESSAGE) -> list[str]:
    """Return copies that are kept; whoever is asked again takes them."""
    tokens = [office.decided() for _ in range(count)]
    office.hops.answer = server("rcpt", 550)
    assert {office.take(token, octets) for token in tokens} == {DONE}
    office.hops.answer = server("end", 250)
    return tokens


def resend(office: Office, *tokens: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = office.commands().serve({"action": "resend", "tokens": [*tokens]})["results"]
    return results


def discard(office: Office, token: str) -> dict[str, Any]:
    (told,) = office.commands().serve({"action": "discard", "tokens": [token], "why": "a test"})["results"]
    return dict(told)


def file_of(office: Office, token: str) -> Path:
    return office.settings.kept / "new" / token


def test_a_file_that_cannot_be_read_costs_no_other_of_its_request(office: Office) -> None:
    first, damaged, last = kept(office, 3)
    file_of(office, damaged).write_bytes(b"Status: RO\n" + file_of(office, damaged).read_bytes())
    told = resend(office, first, damaged, last)
    assert [one["state"] for one in told] == ["resent", "unchanged", "resent"]
    assert "is no copy that the relay kept" in told[1]["why"]
    assert office.kept() == [damaged]
    told = [discard(office, damaged)]
    assert (told[0]["state"], office.kept()) == ("unchanged", [damaged])
    assert "is no copy that the relay kept" in told[0]["why"]
    file_of(office, damaged).unlink()
    assert discard(office, damaged)["state"] == "discarded"


@pytest.mark.parametrize(
    "change",
    [
        lambda octets: octets[:-1000],
        lambda octets: octets[: len(octets) - len(LONG)],
        lambda octets: octets + b"more\r\n",
        lambda octets: octets.replace(b"\r\n", b"\n"),
        lambda octets: octets.replace(b"text", b"test", 1),
    ],
    ids=["half of it", "nothing of it", "more", "other ends of lines", "another letter"],
)
def test_a_kept_copy_that_was_changed_is_not_sent(office: Office, change: Any) -> None:
    """The archive would have it as what the author sent, and here it would be removed."""
    (token,) = kept(office, 1, LONG)
    file, given = file_of(office, token), len(office.hops.given)
    whole = file.read_bytes()
    file.write_bytes(change(whole))
    (told,) = resend(office, token)
    assert (told["state"], len(office.hops.given), file.read_bytes()) == ("unchanged", given, change(whole))
    assert "was changed" in told["why"]
    file.write_bytes(whole)
    assert resend(office, token)[0]["state"] == "resent"
    assert office.hops.given[given:] == [("vault@archive.example", LONG)]


def test_a_kept_copy_that_is_changed_while_it_is_sent_does_not_end(office: Office) -> None:
    (token,) = kept(office, 1, LONG)
    copy = office.maildir.read(token)
    assert copy is not None
    chunks = copy.chunks()
    taken = next(chunks)
    with file_of(office, token).open("r+b") as file:
        file.truncate(copy.begins + len(LONG) // 2)
    with pytest.raises(KeepError, match="was changed"):
        taken += b"".join(chunks)
    assert len(taken) < len(LONG) // 2


def test_one_of_an_older_version_is_sent(office: Office) -> None:
    (token,) = kept(office)
    lines = file_of(office, token).read_bytes().split(b"\n")
    file_of(office, token).write_bytes(b"\n".join(line for line in lines if b"-Sha256: " not in line))
    assert resend(office, token)[0]["state"] == "resent"
    assert office.hops.given[-1][1] == MESSAGE


def test_what_was_sent_again_and_could_not_be_removed_is_not_sent_once_more(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    (token,) = kept(office)

    def fail(_path: Path, *, missing_ok: bool) -> None:
        assert missing_ok
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", fail)
    (told,) = resend(office, token)
    assert (told["state"], office.kept()) == ("resent", [token])
    assert "Read-only file system" in told["why"]
    given = len(office.hops.given)
    monkeypatch.undo()
    (told,) = resend(office, token)
    assert (told["state"], told["why"]) == ("unchanged", "it has ended: accepted")
    assert len(office.hops.given) == given
    adopt(office.maildir, office.state)
    assert office.kept() == []


@pytest.mark.parametrize("comes_again", [False, True])
def test_copies_that_were_sent_again_are_let_go_of_as_soon_as_that_is_recorded(
    office: Office, monkeypatch: pytest.MonkeyPatch, *, comes_again: bool
) -> None:
    first, second = kept(office, 2)
    office.audit_fails = True
    assert [one["state"] for one in resend(office, first, second)] == ["unchanged", "unchanged"]
    office.audit_fails = False
    remove = office.maildir.remove

    def fails_once(token: str) -> None:
        monkeypatch.setattr(office.maildir, "remove", remove)
        message = f"{token}: the kept copy cannot be removed"
        raise KeepError(message)

    if comes_again:
        assert [office.take(token) for token in (first, second)] == [DONE, DONE]
        assert office.kept() == []
    else:
        monkeypatch.setattr(office.maildir, "remove", fails_once)
        office.handling.record_all_owed()
        assert len(office.kept()) == 1
    assert office.handling.recording.problem is None


def test_a_request_does_not_wait_for_another_for_long(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_module, "TURN_SECONDS", 0.0)
    first, second = kept(office, 2)
    commands = office.commands()
    asked, may_answer = threading.Event(), threading.Event()

    def slow(_hops: Sequence[NextHop], _copy: Outgoing, _until: float) -> ServerAnswer:
        asked.set()
        assert may_answer.wait(HANG)
        return server("end", 250)

    monkeypatch.setattr(commands, "_hand_on", slow)
    told: list[dict[str, Any]] = []
    resending = threading.Thread(
        target=lambda: told.extend(commands.serve({"action": "resend", "tokens": [first, second]})["results"])
    )
    resending.start()
    assert asked.wait(HANG)
    assert commands.at_work()
    with pytest.raises(CommandRefused, match="at work on another request"):
        commands.serve({"action": "discard", "tokens": [second], "why": "a test"})
    commands.end()
    may_answer.set()
    resending.join(HANG)
    assert [one["state"] for one in told] == ["resent", "unchanged"]
    assert told[1]["why"] == "the relay ends: ask again in a moment"
    wait_until(lambda: not commands.at_work(), "the end of the request")
    with pytest.raises(CommandRefused, match="the relay ends"):
        commands.serve({"action": "resend", "tokens": [second]})
    assert office.kept() == [second]


def test_what_is_set_aside_twice_is_there_twice(office: Office) -> None:
    """Postfix was told that it is settled."""
    token = new_token(office.directory)
    for octets in (b"one\r\n", b"two\r\n"):
        office.maildir.keep(token, {}, [octets])
        office.maildir.set_aside(token)
    aside = sorted((office.settings.kept / "other").iterdir())
    assert [file.read_bytes().partition(b"\n\n")[2] for file in aside] == [b"one\r\n", b"two\r\n"]
