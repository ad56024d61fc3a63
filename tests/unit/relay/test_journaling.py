"""What a copy is handed on as: the expansion is read once, stored, and given up only at the last chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.relay.journaling import Journaling
from ldapmilter.relay.stored import KnownCopy
from tests.support.builders import static_list
from tests.support.journal_readers import Journal, strictly
from tests.unit.directory.scene import Scene
from tests.unit.relay.reports import MESSAGE, SETTINGS, TOKEN, Pieces
from tests.unit.relay.test_expansion import ALL, people

NOW: Final = 1_781_517_601.5


@dataclass
class Known:
    """A state: one message, two copies of it."""

    expansions: dict[int, str] = field(default_factory=dict)

    def record(self, message: int | None) -> dict[str, Any] | None:
        if message != 1:
            return None
        reason = {"ref": "K-7"}
        copy = {"address": "vault@archive.example.net", "classes": ["legal"], "reasons": [reason, {"ref": None}]}
        return {
            "time": "2026-06-15T10:00:00.000Z",
            "queue_id": "4Tq1Xz",
            "sender": "ann@example.com",
            "offered": [ALL],
            "identity": {"source": "none", "address": None},
            "copies": [{**copy, "token": "f" * 48, "address": "x@y.example"}, {**copy, "token": TOKEN}],
        }

    def expansion(self, message: int | None) -> str | None:
        return self.expansions.get(message or 0)

    def store_expansion(self, message: int, text: str) -> None:
        self.expansions[message] = text


@dataclass(frozen=True)
class Plain(Pieces):
    octets: bytes = MESSAGE


def carried(delivery: str = "journal", message: int = 1) -> KnownCopy:
    return KnownCopy(token=TOKEN, state="waiting", delivery=delivery, message=message)


class Stage:
    def __init__(self) -> None:
        self.known = Known()
        self.scene = Scene(people(static_list(ALL, ["ann@example.com"])))
        self.wrap = Journaling(self.scene.view, self.known, SETTINGS, seal=lambda: "3:abc", clock=lambda: NOW)

    def report(self, *, last_chance: bool = False) -> Journal:
        return strictly(b"".join(self.wrap(carried(), Plain(), last_chance=last_chance).chunks()))


def test_a_tracked_copy_goes_on_as_it_came() -> None:
    message = Plain()
    assert Stage().wrap(carried(delivery="tracked"), message, last_chance=False) is message


def test_no_report_is_made_of_another_message() -> None:
    message = Plain()
    copy = replace(carried(), other_message_id="<notice@filter.example>")
    assert Stage().wrap(copy, message, last_chance=False) is message


def test_a_report_of_what_the_audit_and_the_directory_say() -> None:
    journal = Stage().report()
    assert journal.recipients == ("Recipient: ann@example.com, Expanded: all@example.com",)
    assert journal.headers["To"] == "vault@archive.example.net"
    assert journal.headers["X-Ldapmilter-Ref"] == "K-7"
    assert journal.headers["X-Ldapmilter-Seal"] == "3:abc"
    assert journal.headers["X-Ldapmilter-Expanded"] == "2026-06-15T10:00:01.500Z"


def test_members_are_those_of_the_first_attempt() -> None:
    stage = Stage()
    first = stage.report()
    stage.scene.store.fill(people(static_list(ALL, ["bob@example.com"])))
    stage.scene.clock.now += 5000
    assert stage.report() == first


def test_without_a_directory_the_copy_waits() -> None:
    stage = Stage()
    stage.scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        stage.report()
    assert not stage.known.expansions


def test_from_memory_alone_once_the_directory_was_asked() -> None:
    stage = Stage()
    with pytest.raises(DirectoryUnavailable):
        stage.wrap(carried(), Plain(), last_chance=False, memory_only=True)
    assert not stage.scene.store.searches
    first = stage.report()
    stage.known.expansions.clear()
    stage.scene.store.down = True
    wrapped = stage.wrap(carried(), Plain(), last_chance=False, memory_only=True)
    assert strictly(b"".join(wrapped.chunks())) == first


def test_at_the_last_chance_the_report_is_incomplete() -> None:
    stage = Stage()
    stage.scene.store.down = True
    journal = stage.report(last_chance=True)
    assert journal.recipients == ("Recipient: all@example.com",)
    assert journal.headers["X-Ldapmilter-Expanded"].endswith(" incomplete")


def test_a_decision_that_is_not_there() -> None:
    with pytest.raises(DirectoryUnavailable, match="decision"):
        Stage().wrap(carried(message=2), Plain(), last_chance=False)
