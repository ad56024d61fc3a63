"""A decision that waits for the header is made in two steps: the second goes on from the facts of the first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.mailbox.reading import read_from
from ldapmilter.message import Headers
from ldapmilter.policy import from_rewrite
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.decide import decide
from tests.unit.policy.example import example_records
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, TODAY, Message, World, addresses, read_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.mailbox.reading import FromHeader
    from ldapmilter.policy.model import Decision
    from tests.unit.policy.world import Options

RULE: Final = '* => "{fromName} (Legal)" <legal@example.com>'
FROM: Final = Headers(fields=(("from", "Ann <ann@example.com>"),))
VALUES: Final = {
    ANN: {"ldapMilterSenderFromRewrite": RULE, "ldapMilterArchiveSentBcc": "vault@keep.test"},
    BOB: {"ldapMilterArchiveReceivedBcc": "bob@keep.test"},
}
PERSON: Final = {"identity": {"trust_x_authenticated_user": "yes"}}


class Steps:
    """One message, decided in two steps."""

    def __init__(self, world: World, message: Message | None = None) -> None:
        self.world = world
        self.message = message or Message(to=[BOB, JOE])
        self.policy = world.config.policy
        self.today = TODAY
        self.basis = Basis()

    def decide(self, headers: Headers | None = None) -> Decision:
        lenient = self.policy.directory_failure == "accept"
        directory = self.world.directory.for_message(lenient=lenient)
        return decide(
            self.message.envelope, directory, self.policy, today=self.today, headers=headers, basis=self.basis
        )


def world(options: Options | None = None) -> World:
    return World(example_records(VALUES), options)


@pytest.fixture
def steps() -> Steps:
    return Steps(world())


def test_the_second_step_asks_for_nobody_again(steps: Steps) -> None:
    first = steps.decide()
    steps.world.replace(example_records())  # in which nobody asks for anything any more
    steps.world.cache.flush()
    asked = len(steps.world.store.filters)
    last = steps.decide(FROM)
    assert first.headers_needed
    assert not [one for one in steps.world.store.filters[asked:] if "ann" in one or "bob" in one]
    assert last.copies == first.copies
    assert addresses(last) == ["vault@keep.test", "bob@keep.test"]
    assert last.from_change is not None
    assert last.from_change.value == '"Ann (Legal)" <legal@example.com>'


def test_the_second_step_needs_no_directory_where_the_first_has_seen_all(steps: Steps) -> None:
    """Hosted domains are those that the message has seen before, though they are forgotten by now."""
    steps.decide()
    steps.world.cache.flush()
    steps.world.goes_down()
    last = steps.decide(FROM)
    assert (last.verdict, last.searches) == ("accept", 0)
    assert last.from_change is not None


@pytest.mark.parametrize(("rule", "read"), [(RULE, 1), ("* => Legal <legal@example.com>", 0)])
def test_the_from_is_taken_apart_where_the_new_one_holds_its_name(
    rule: str, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_apart: list[object] = []

    def counted(values: Sequence[str]) -> FromHeader:
        taken_apart.append(values)
        return read_from(values)

    monkeypatch.setattr(from_rewrite, "read_from", counted)
    steps = Steps(World(example_records({ANN: {"ldapMilterSenderFromRewrite": rule}})))
    steps.decide()
    assert steps.decide(FROM).from_change is not None
    assert len(taken_apart) == read


def test_it_decides_as_if_it_had_begun_anew(steps: Steps) -> None:
    steps.decide()
    assert steps.decide(FROM) == Steps(steps.world).decide(FROM)


def test_it_says_everything_once() -> None:
    """What the facts say is in both decisions, and not twice in the second."""
    steps = Steps(World(example_records({**VALUES, BOB: {"ldapMilterArchiveReceivedBcc": "no-at-sign"}})))
    first, last = steps.decide(), steps.decide(FROM)
    assert [notice.text for notice in first.warnings if "no-at-sign" in notice.text]
    assert first.warnings == last.warnings


@pytest.mark.parametrize("what", ["day", "configuration"])
def test_it_begins_anew_when_something_else_counts_by_now(steps: Steps, what: str) -> None:
    steps.decide()
    steps.world = World(example_records())
    if what == "day":
        steps.today += timedelta(days=1)
    else:
        steps.policy = read_config({"policy": {"max_copies": "7"}}).policy
    last = steps.decide(FROM)
    assert (last.copies, last.from_change) == ((), None)


def test_it_asks_again_for_what_could_not_be_asked_at_first() -> None:
    steps = Steps(world({"policy": {"directory_failure": "accept"}}))
    Steps(steps.world, Message(to=[JOE])).decide()
    steps.world.goes_down()
    first = steps.decide()
    steps.world.goes_down(lambda _search_filter: False)
    last = steps.decide(FROM)
    assert first.incomplete
    assert first.headers_needed
    assert last.incomplete == ()
    assert addresses(last) == ["vault@keep.test", "bob@keep.test"]


def test_a_person_whom_the_header_names_is_looked_up_alone() -> None:
    """Their copies are due as well; nobody else is asked for again."""
    values = {
        "example.com": {"ldapMilterSenderFromRewrite": RULE},
        "global": {"zimbraSmtpSendAddAuthenticatedUser": "TRUE"},
        BOB: {"ldapMilterArchiveSentBcc": "bob@keep.test"},
    }
    steps = Steps(World(example_records(values), PERSON), Message(login=None, sender=ANN, client=MAILBOX_SERVER))
    assert addresses(steps.decide()) == []
    asked = len(steps.world.store.filters)
    last = steps.decide(Headers(fields=(*FROM.fields, ("x-authenticated-user", BOB))))
    assert addresses(last) == ["bob@keep.test"]
    assert not [one for one in steps.world.store.filters[asked:] if "joe" in one or "ann" in one]
