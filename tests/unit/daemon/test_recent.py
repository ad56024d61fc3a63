"""What a worker remembers of its last messages: bounded, whole for those who may read the audit, else as the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.audit.record import is_record
from ldapmilter.daemon import recent as module
from ldapmilter.daemon.recent import RecentMessages
from ldapmilter.message import Envelope, HandledMessage, Identity
from ldapmilter.policy.effect import Copy, CopyReason
from ldapmilter.policy.model import Decision, Notice
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, Message

if TYPE_CHECKING:
    from ldapmilter.policy.settings import Policy

HOLD: Final = "hold@counsel.test"
VAULT: Final = "vault@elsewhere.test"
WORLD: Final = example({ANN: {"ldapMilterArchiveBcc": VAULT, "ldapMilterLegalBcc": HOLD}})
POLICY: Final[Policy] = WORLD.config.policy
NOTHING: Final = Decision(identity=Identity(source="none"))


def handled(queue_id: str = "4QID", *recipients: str) -> HandledMessage:
    return HandledMessage(queue_id=queue_id, envelope=Envelope(sender=ANN, recipients=recipients or (BOB,)))


def copies(number: int, copy_class: str, reasons: int = 1) -> tuple[Copy, ...]:
    why = CopyReason(level="account", dn="uid=x", attribute="a", value="v", copy_class=copy_class, direction="sent")
    return tuple(
        Copy(address=make_address(f"{copy_class}{n}", "keep.test"), reasons=(why,) * reasons) for n in range(number)
    )


def found(
    recent: RecentMessages, queue_id: str | None = None, address: str | None = None, *, reads_audit: bool = True
) -> list[dict[str, Any]]:
    wanted = make_address(*address.split("@")) if address is not None else None
    answer = recent.find(queue_id=queue_id, address=wanted, most=1000, reads_audit=reads_audit)
    messages: list[dict[str, Any]] = answer["messages"]
    return messages


@pytest.fixture
def recent() -> RecentMessages:
    return RecentMessages()


def test_messages_without_any_effect_are_remembered_and_found_by_queue_id_and_party(recent: RecentMessages) -> None:
    recent.keep(handled("A"), NOTHING, POLICY, 10)
    recent.keep(handled("B", "joe@elsewhere.test"), NOTHING, POLICY, 10)
    assert [one["queue_id"] for one in found(recent)] == ["A", "B"]
    assert [one["queue_id"] for one in found(recent, "B")] == ["B"]
    assert [one["queue_id"] for one in found(recent, address="joe@elsewhere.test")] == ["B"]
    assert found(recent, "C") == []
    assert all(is_record(one["record"]) for one in found(recent))


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(),
        Envelope(login="", client="", sender="", recipients=()),
        Envelope(login="ann", client="192.0.2.1", daemon_port=587, sender=ANN, recipients=(BOB, "b c@x.test")),
        Envelope(submitted_locally=True, sender="\udce9@x.test", recipients=("",)),
    ],
)
def test_what_is_kept_in_one_piece_comes_back_whole(recent: RecentMessages, envelope: Envelope) -> None:
    message = HandledMessage(queue_id="4QID", envelope=envelope)
    decision = replace(NOTHING, mode="observe")
    recent.keep(message, decision, POLICY, 10)
    (kept,) = recent._messages
    assert not isinstance(kept, module._Remembered)
    back = module._unpacked(kept)
    assert (back.message, back.decision, back.policy) == (message, decision, POLICY)


def test_who_may_read_the_audit_sees_all(recent: RecentMessages) -> None:
    recent.keep(HandledMessage(queue_id="4QID", envelope=Message().envelope), WORLD.decide(), POLICY, 10)
    (one,) = found(recent)
    assert {copy["address"] for copy in one["record"]["copies"]} == {HOLD, VAULT}
    assert found(recent, address=HOLD) == [one]


def test_anybody_else_sees_what_the_log_says(recent: RecentMessages) -> None:
    recent.keep(HandledMessage(queue_id="4QID", envelope=Message().envelope), WORLD.decide(), POLICY, 10)
    (one,) = found(recent, reads_audit=False)
    assert one.keys() == {"at", "queue_id", "line"}
    assert f"copy={VAULT}" in one["line"]
    assert "counsel" not in json.dumps(one)
    assert "egal" not in json.dumps(one)
    assert found(recent, address=HOLD, reads_audit=False) == []
    assert found(recent, address=VAULT, reads_audit=False) == []  # of no message by its copies: an answer would tell
    assert found(recent, address=ANN, reads_audit=False) == [one]


def test_a_message_that_waits_looks_alike_whatever_it_waits_for(recent: RecentMessages) -> None:
    waits = Decision(identity=Identity(source="sasl", address=make_address("ann", "example.com")), verdict="tempfail")
    broken = replace(waits, warnings=(Notice(text="invalid legal value", confidential=True, invalid_value_of="legal"),))
    recent.keep(handled(), replace(waits, unavailable=True), POLICY, 10)
    recent.keep(handled(), broken, POLICY, 10)
    one, other = (one["line"] for one in found(recent, reads_audit=False))
    assert one == other
    assert "invalid legal value" in found(recent)[1]["record"]["warnings"]


@pytest.mark.parametrize("number", [1, 100, 10_000])
def test_what_is_confidential_does_not_move_what_others_see(recent: RecentMessages, number: int) -> None:
    """Neither what is forgotten, nor what is told of a message of which not all is kept."""
    other = RecentMessages()
    for into, decision in ((recent, NOTHING), (other, replace(NOTHING, copies=copies(number, "legal", 50)))):
        for _ in range(20):
            into.keep(handled("A"), decision, POLICY, 10)
    ours, theirs = (
        {**one.find(queue_id=None, address=None, most=99, reads_audit=False), "since": None} for one in (recent, other)
    )
    for answer in (ours, theirs):
        answer["messages"] = [one["line"] for one in answer["messages"]]
    assert ours == theirs
    assert recent._octets == other._octets


def test_no_more_messages_are_remembered_than_configured(recent: RecentMessages) -> None:
    assert found(recent) == []
    began = recent.since
    for number in range(30):
        recent.keep(handled(str(number)), NOTHING, POLICY, 10)
    assert [one["queue_id"] for one in found(recent)] == [str(number) for number in range(20, 30)]
    assert recent.forgotten == 20
    assert recent.since >= began
    recent.keep(handled("last"), NOTHING, POLICY, 3)  # a reload
    assert [one["queue_id"] for one in found(recent)] == ["28", "29", "last"]
    recent.keep(handled("none"), NOTHING, POLICY, 0)
    assert found(recent) == []
    assert recent._octets == 0


def test_nor_more_octets_but_for_the_last_one(recent: RecentMessages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OCTETS", 50_000)
    many = [f"user{number}@example.com" for number in range(30)]
    for number in range(30):
        recent.keep(handled(str(number), *many), NOTHING, POLICY, 1000)
    assert 3 < len(found(recent)) < 30
    recent.keep(handled("large", *[f"user{number}@example.com" for number in range(1000)]), NOTHING, POLICY, 1000)
    assert [one["queue_id"] for one in found(recent)] == ["large"]
    recent.keep(handled("next"), NOTHING, POLICY, 1000)
    assert [one["queue_id"] for one in found(recent)] == ["next"]


def test_of_many_copies_and_reasons_some_are_kept_and_the_line_has_all(recent: RecentMessages) -> None:
    many = (*copies(30, "legal", 2), *copies(3, "archive", 30))
    recent.keep(handled(), replace(NOTHING, copies=many), POLICY, 10)
    (one,) = found(recent)
    assert len(one["record"]["copies"]) == 20
    assert "not all is remembered (13 more copies)" in one["record"]["warnings"][-1]
    (public,) = found(recent, reads_audit=False)
    assert public["line"].count(" copy=") == 3


def test_one_message_that_is_too_large_to_tell_is_told_by_its_line(
    recent: RecentMessages, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent.keep(handled("A", *[f"user{number}@example.com" for number in range(60_000)]), NOTHING, POLICY, 10)
    (one,) = found(recent)
    assert one["line"].startswith("A: verdict=accept")
    monkeypatch.setattr(module, "_MOST_ANSWERED", 100)
    recent.keep(handled("B"), NOTHING, POLICY, 10)
    assert [one["queue_id"] for one in found(recent)] == ["B"]
