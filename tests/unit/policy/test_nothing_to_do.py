"""Mail of which nobody's chains say anything takes a shorter way to the same decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.policy.basis import Basis
from ldapmilter.policy.decide import _Deciding, decide
from tests.unit.policy.example import GLOBAL, example_records
from tests.unit.policy.world import ANN, JOE, MAILBOX_SERVER, Message, World, addresses

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision
    from tests.unit.policy.example import Values
    from tests.unit.policy.world import Options

CAROL: Final = "carol@example.com"
PERSON: Final = "x-authenticated-user"


def decided(world: World, message: Message) -> tuple[Decision, Decision]:
    """Return a decision, and what the long way comes to from the same facts."""
    policy, basis = world.config.policy, Basis()
    directory = world.directory.for_message(lenient=policy.directory_failure == "accept")
    short = decide(message.envelope, directory, policy, today=message.today, basis=basis)
    assert basis.facts is not None
    assert basis.facts.quiet
    return short, _Deciding(basis.facts, None).decision(Basis())


@pytest.mark.parametrize(
    "message",
    [
        Message(to=[CAROL, JOE]),
        Message(login=None, sender=ANN, to=[CAROL]),
        Message(login=None, sender=JOE, to=[CAROL]),
        Message(login=None, sender=ANN, client=MAILBOX_SERVER, to=[CAROL]),
        Message(login=None, sender="", to=[CAROL]),
        Message(login=None, sender=ANN, to=[CAROL], submitted_locally=True),
    ],
    ids=["login", "unknown client", "outside", "mailbox server", "null sender", "sendmail"],
)
@pytest.mark.parametrize("mode", ["apply", "observe"])
def test_the_decision_is_that_of_the_long_way(message: Message, mode: str) -> None:
    short, long = decided(World(example_records(), {"policy": {"mode": mode}}), message)
    assert short == long
    assert short.uneventful == (short.unknown_client is None)


@pytest.mark.parametrize("options", [{}, {"policy": {"directory_failure": "accept"}}], ids=["tempfail", "accept"])
def test_what_is_stale_is_said_of_it_too(options: Options) -> None:
    world = World(example_records(), options)
    message = Message(to=[CAROL])
    decided(world, message)
    world.clock.now += 3600
    world.goes_down()
    short, long = decided(world, message)
    assert short == long
    assert short.stale
    assert not short.uneventful


def test_whoever_may_be_somebody_else_takes_the_long_way() -> None:
    """The header may name a person, whose chains say something."""
    values: Values = {
        GLOBAL: {"zimbraSmtpSendAddAuthenticatedUser": True},
        CAROL: {"ldapMilterArchiveSentBcc": "vault@keep.test"},
    }
    world = World(example_records(values), {"identity": {"trust_x_authenticated_user": "yes"}})
    message = Message(login=None, sender=ANN, client=MAILBOX_SERVER, to=[JOE], headers=[(PERSON, CAROL)])
    assert world.at_data(message).headers_needed == {PERSON}
    assert addresses(world.decide(message)) == ["vault@keep.test"]
