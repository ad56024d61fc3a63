"""What comes with a copy's token and is another message: after crashes, lost lines, and files that are read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.relay.adoption import adopt
from ldapmilter.relay.replies import DONE
from ldapmilter.relay.state import RelayState
from tests.support.relay import decision, utc, write_audit
from tests.unit.relay.test_handling import DECIDED, NOTICE, NOTICE_ID, Office, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.relay.stored import KnownCopy


@pytest.fixture(name="office")
def open_office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


def kept_notice(office: Office) -> str:
    token = office.decided()
    office.hops.answer = server("end", 554)
    assert office.take(token, NOTICE) == DONE
    office.hops.answer = server("end", 250)
    office.now += 10
    return token


def begin_anew(office: Office, *lines: dict[str, Any]) -> None:
    """Let the relay start without its state, with so much of the audit."""
    office.audit.unlink()
    office.audit.touch(mode=0o600)
    write_audit(office.audit, *lines)
    office.state.close()
    office.settings.state.unlink()
    office.state = RelayState(office.settings.state)
    office.handling = office.handler()
    office.handling.following.catch_up()
    adopt(office.maildir, office.state)


def lines_of(office: Office) -> list[dict[str, Any]]:
    return [json.loads(line) for line in office.audit.read_text().splitlines()]


def known(office: Office, token: str) -> KnownCopy:
    copy = office.state.copy(token)
    assert copy is not None
    return copy


@pytest.mark.parametrize("action", ["resend", "discard"])
def test_an_older_file_that_is_read_again_does_not_bring_a_kept_notice_back(office: Office, action: str) -> None:
    token = kept_notice(office)
    older = lines_of(office)
    office.commands().serve({"action": action, "tokens": [token], "why": "a test"})
    before = known(office, token)
    office.state.take(older)
    assert known(office, token) == before
    assert office.state.count(state="ended", fate="kept") == 0


def test_an_end_that_is_taken_back_does_not_make_the_copy_a_kept_one_because_a_notice_was(office: Office) -> None:
    token = kept_notice(office)
    assert office.take(token, DECIDED) == DONE
    accepted = office.written[-1]
    begin_anew(office, *lines_of(office), {**accepted, "time": utc(office.now + 20), "takes_back": accepted["time"]})
    assert (known(office, token).state, known(office, token).fate) == ("waiting", "")
    assert office.take(token, DECIDED) == DONE
    assert [octets for _, octets in office.hops.given] == [NOTICE, DECIDED, DECIDED]


def test_a_kept_copy_is_not_removed_because_a_notice_was_accepted(office: Office) -> None:
    token = office.decided()
    assert office.take(token, NOTICE) == DONE
    told = lines_of(office)
    office.hops.answer = server("end", 554)
    assert office.take(token, DECIDED) == DONE
    begin_anew(office, *told)  # the last line was lost
    assert office.kept() == [token]
    assert (known(office, token).fate, known(office, token).other_message_id) == ("kept", None)


@pytest.mark.parametrize("action", ["resend", "discard"])
def test_what_is_done_with_a_kept_notice_that_the_audit_does_not_know_of_does_not_end_the_copy(
    office: Office, action: str
) -> None:
    token = kept_notice(office)
    begin_anew(office, decision([token], at=office.now))  # the relay ended before the line was written
    (told,) = office.commands().serve({"action": action, "tokens": [token], "why": "a test"})["results"]
    assert told["state"] in {"resent", "discarded"}
    assert office.written[-1]["other_message_id"] == NOTICE_ID
    assert office.take(token, DECIDED) == DONE
    assert office.hops.given[-1][1] == DECIDED
    assert office.written[-1]["state"] == "accepted"


def test_another_notice_that_is_kept_is_not_lost_when_the_state_is_made_again(office: Office) -> None:
    token = office.decided()
    assert office.take(token, NOTICE) == DONE
    office.hops.answer = server("rcpt", 451)
    office.take(token, DECIDED)
    office.hops.answer = server("end", 554)
    assert office.take(token, NOTICE.replace(b"<notice@", b"<second@")) == DONE
    begin_anew(office, *lines_of(office))
    assert office.kept() == [token]
    assert known(office, token).fate == "kept"
