"""What is remembered between messages changes no decision: each is as if it were the first."""

from __future__ import annotations

import random
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.address import envelope_address
from ldapmilter.directory.flush import flush_addresses
from ldapmilter.directory.zimbra import MessageDirectory
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import GLOBAL, example_records
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, OUTSIDER, TODAY, Message, World, addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.address import Address
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

TEAM: Final = "team@example.com"
VALUES: Final[dict[str, dict[str, Any]]] = {
    ANN: {
        "ldapMilterArchiveBcc": ["ann.archive@example.net", "ann@example.com ref=own"],
        "ldapMilterSenderFromRewrite": [f"{TEAM} => {{fromName}} <team.rule@example.com>", "internal => i@example.com"],
    },
    BOB: {
        "ldapMilterArchiveReceivedBcc": "bob.archive@example.net with=internal",
        "ldapMilterLegalBcc": f"bob.legal@example.net until={TODAY} ref=1",
    },
    "carol@example.com": {"ldapMilterRecipientFromRewrite": "carol.wish@example.com"},
    TEAM: {"ldapMilterArchiveBcc": "team.archive@example.net with=ann@example.com"},
    "sales": {"ldapMilterLegalBcc": "sales.legal@example.net with=external"},
    "example.com": {
        "ldapMilterArchiveBcc": "{localpart}@archive.example.net",
        "ldapMilterLegalBcc": "domain.legal@example.net with=group:team@example.com",
    },
    GLOBAL: {"ldapMilterLegalReceivedBcc": ["vault@example.com", "safe@example.com", "nobody@example.com with=*"]},
}
MESSAGES: Final = [
    Message(login=ANN, to=[TEAM], headers=[("From", "Annie <x@example.net>")]),
    Message(login=ANN, to=[TEAM], headers=[("From", "Somebody Else <x@example.net>")]),
    Message(login=ANN, to=["all@example.com", BOB]),
    Message(login="a.able@example.com", to=[BOB, "bob@example.org", "bob+x@example.com"]),
    Message(login=BOB, to=[TEAM, ANN]),
    Message(login=BOB, to=["a.able@example.com"]),
    Message(login=BOB, to=["carol@example.com"], today=TODAY + timedelta(days=1)),
    Message(login="carol@example.com", to=[BOB], today=TODAY + timedelta(days=1)),
    Message(login="dan@example.com", to=["dan@example.com", "crew@example.com"]),
    Message(login=None, sender=JOE, to=[TEAM]),
    Message(login=None, sender=ANN, to=[TEAM]),
    Message(login=None, sender=ANN, client=MAILBOX_SERVER, to=[TEAM], headers=[("Auto-Submitted", "auto-replied")]),
    Message(login=None, sender=ANN, client=MAILBOX_SERVER, to=[TEAM], headers=[]),
    Message(login=None, sender=JOE, to=["anything@catchall.example", "nobody@example.com", "nobody@example.org"]),
    Message(login=None, sender=JOE, to=["ANN@example.com"]),
    Message(login=None, sender=JOE, to=["outside@example.com"]),
    Message(login=None, sender=JOE, to=["vault@example.com", "bob@example.com"]),
    Message(login=None, sender="", to=[BOB]),
    Message(login="nobody@example.com", to=[BOB]),
]


def records(values: dict[str, dict[str, Any]] | None = None, outside: str = JOE) -> list[Record]:
    """Return the example directory with values, and a list of one outsider."""
    given = VALUES if values is None else values
    return [*example_records(given), *builders.static_list("outside@example.com", [outside])]


def outcome(world: World, message: Message) -> Decision:
    return replace(world.decide(message), searches=0)


@pytest.mark.parametrize("seed", range(6))
def test_no_message_changes_another(seed: int) -> None:
    messages = [*MESSAGES, *MESSAGES]
    random.Random(seed).shuffle(messages)
    shared = World(records())

    for message in messages:
        assert outcome(shared, message) == outcome(World(records()), message)


def with_values(name: str, **attributes: Any) -> list[Record]:
    return records({**VALUES, name: {**VALUES.get(name, {}), **attributes}})


CHANGES: Final[dict[str, Callable[[], list[Record]]]] = {
    "an account": lambda: with_values(BOB, ldapMilterArchiveReceivedBcc="new@example.net"),
    "a list": lambda: with_values(TEAM, ldapMilterArchiveBcc=None),
    "a COS": lambda: with_values("sales", ldapMilterLegalBcc="new@example.net"),
    "a domain": lambda: with_values("example.com", ldapMilterArchiveBcc="none"),
    "the global config": lambda: with_values(GLOBAL, ldapMilterLegalReceivedBcc="new@example.net"),
    "the COS of an account": lambda: with_values(BOB, zimbraCOSId=zimbra_id("cos", "sales")),
    "the default COS of a domain": lambda: with_values(
        "example.com", zimbraDomainDefaultCOSId=zimbra_id("cos", "sales")
    ),
    "the members of a list": lambda: with_values(
        TEAM, zimbraMailForwardingAddress=["dan@example.com", "vault@example.com"]
    ),
    "the members of a nested list": lambda: with_values("sub@example.com", zimbraMailForwardingAddress=[ANN]),
    "a member of a dynamic group": lambda: with_values(ANN, zimbraMemberOf=zimbra_id("group", "crew@example.com")),
    "a forward": lambda: with_values(BOB, zimbraPrefMailForwardingAddress="carol@example.com"),
    "an alias of a copy address": lambda: with_values(
        "vault@example.com", zimbraMailAlias=["other@example.com"], mail=["vault@example.com", "other@example.com"]
    ),
    "the recipient delimiter": lambda: with_values(GLOBAL, zimbraMtaRecipientDelimiter=None),
    "a catch-all": lambda: with_values("keeper@example.com", zimbraMailCatchAllAddress=None),
    "an account that was missing": lambda: [
        *records(),
        *builders.account("nobody@example.com", ldapMilterArchiveBcc="new@example.net"),
    ],
    "a second entry for an address": lambda: [
        *records(),
        builders.account("twin@example.com", aliases=[BOB], ldapMilterArchiveBcc="twin@example.net")[0],
    ],
    "the one member of a list": lambda: records(outside="carol@example.com"),
    "everything": lambda: records({}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_acts_within_the_time_to_live(change: Callable[[], list[Record]]) -> None:
    world = World(records())
    for message in MESSAGES:
        world.decide(message)

    world.replace(change())
    world.clock.now += 400

    for message in MESSAGES:
        assert outcome(world, message) == outcome(World(change()), message)


@pytest.mark.parametrize("seed", range(4))
def test_entries_that_grow_old_at_different_times(seed: int) -> None:
    rng = random.Random(seed)
    world = World(records())
    fresh = {number: outcome(World(records()), message) for number, message in enumerate(MESSAGES)}

    for _ in range(60):
        number = rng.randrange(len(MESSAGES))
        assert outcome(world, MESSAGES[number]) == fresh[number]
        world.clock.now += rng.choice([0, 1, 30, 70, 250, 400])


def test_another_configuration_over_the_same_directory_counts_at_once() -> None:
    narrow, wide = World(records()), World(records(), {"copy archive": {"inherit": "union"}})
    before = [outcome(narrow, message) for message in MESSAGES]
    after = [outcome(wide, message) for message in MESSAGES]
    assert before != after

    shared = World(records())
    for expected, config in ((before, narrow.config), (after, wide.config), (before, narrow.config)):
        shared.config = config
        assert [outcome(shared, message) for message in MESSAGES] == expected


def test_one_recipient_that_changes_takes_no_other_with_it() -> None:
    world = World(records())
    crowd = Message(login=ANN, to=["dan@example.com", "carol@example.com", BOB])
    world.decide(crowd)
    assert world.decide(crowd).searches == 0

    forgotten = world.cache.flush(lambda key, _value: key == "dan@example.com")

    assert forgotten == 1
    texts: list[str] = []

    def note(search_filter: str) -> bool:
        texts.append(search_filter)
        return False

    world.goes_down(note)
    assert addresses(world.decide(crowd)) == addresses(World(records()).decide(crowd))
    assert len(texts) == 1
    assert "dan@example.com" in texts[0]
    assert "carol@example.com" not in texts[0]


def test_whoever_has_an_address_of_their_own_does_not_depend_on_the_catch_all() -> None:
    """That there is none is known for a minute only; the recipient, who is there, for five."""
    plain = ["one@example.com", "two@example.com"]
    accounts = [entry for address in plain for entry in builders.account(address)]
    world = World([*example_records({}), *accounts], {"cache": {"ttl": "300", "negative_ttl": "60"}})
    message = Message(login=plain[0], to=plain)
    world.decide(message)
    world.clock.now += 100
    assert world.decide(message).searches == 0
    world.clock.now += 100
    assert world.decide(message).searches == 0


def from_mailbox(sender: str = ANN, **more: Any) -> Message:
    """Return mail that a mailbox server sends for a mailbox."""
    return Message(login=None, client=MAILBOX_SERVER, sender=sender, headers=[], **more)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return who was resolved as an envelope sender, or as a login."""
    names: list[str] = []
    for method in (MessageDirectory.sender, MessageDirectory.login):

        def noted(self: MessageDirectory, name: Any, method: Any = method) -> Any:
            names.append(str(name))
            return method(self, name)

        monkeypatch.setattr(MessageDirectory, method.__name__, noted)
    return names


@pytest.mark.parametrize("message", [Message(), from_mailbox(), from_mailbox(to=[BOB])], ids=["login", "out", "in"])
def test_a_sender_that_is_known_is_not_resolved_again(message: Message, resolved: list[str]) -> None:
    world = World(records())
    first = outcome(world, message)
    assert resolved
    resolved.clear()

    again = world.decide(message)

    assert (resolved, again.searches) == ([], 0)
    assert replace(again, searches=0) == first


@pytest.mark.parametrize("person", [ANN, BOB])
def test_a_person_that_is_known_is_not_resolved_again(person: str, resolved: list[str]) -> None:
    values = {**VALUES, GLOBAL: {**VALUES[GLOBAL], "zimbraSmtpSendAddAuthenticatedUser": True}}
    world = World(records(values), {"identity": {"trust_x_authenticated_user": "yes"}})
    message = replace(from_mailbox(BOB), headers=[("X-Authenticated-User", person)])
    first = outcome(world, message)
    assert person in resolved
    resolved.clear()

    assert outcome(world, message) == first
    assert resolved == []


def test_whoever_sends_for_a_mailbox_is_remembered_apart_from_whoever_logs_in_by_that_name() -> None:
    world = World(records())
    for message in (Message(), from_mailbox(), Message(), from_mailbox()):
        assert outcome(world, message) == outcome(World(records()), message)
        assert outcome(world, message).identity.source == ("sasl" if message.login else "mailbox-host")


def test_a_client_that_is_no_mailbox_server_any_more_speaks_for_nobody() -> None:
    world = World(records())
    assert world.decide(from_mailbox()).identity.source == "mailbox-host"
    assert world.decide(replace(from_mailbox(), client=OUTSIDER)).identity.source == "none"
    world.replace(record for record in records() if "cn=servers,cn=zimbra" not in record.dn or record.filler)
    world.cache.flush()

    assert world.decide(from_mailbox()).identity.source == "none"


@pytest.mark.parametrize("flushed", [ANN, "a.able@example.com", "ann@example.org"])
@pytest.mark.parametrize("sender", [ANN, "A.Able@example.com", "ann+tag@example.com"])
def test_a_sender_falls_with_a_flush(sender: str, flushed: str) -> None:
    old, new = ({ANN: {"ldapMilterArchiveBcc": f"{name}@vault.test"}} for name in ("old", "new"))
    world = World(records(old))
    message = from_mailbox(sender, to=[JOE])
    assert [addresses(world.decide(message)) for _ in range(2)] == [["old@vault.test"]] * 2
    world.replace(records(new))
    assert addresses(world.decide(message)) == ["old@vault.test"]

    flush_addresses(world.cache, [flushed], world.directory.present)

    assert addresses(world.decide(message)) == ["new@vault.test"]


@pytest.mark.parametrize("sender", ["nobody@example.com", "anything@catchall.example"])
def test_that_there_is_no_sender_is_not_believed_past_the_negative_cache(sender: str) -> None:
    world = World(records(), {"cache": {"ttl": "300", "negative_ttl": "60"}})
    message = from_mailbox(sender, to=[JOE])
    for _ in range(2):
        assert world.decide(message).identity.dn is None
    made = [*records(), *builders.account(sender, ldapMilterArchiveBcc="new@vault.test")]
    world.replace(made)
    world.clock.now += 61

    assert outcome(world, message) == outcome(World(made), message)
    assert addresses(world.decide(message)) == ["new@vault.test"]


def test_a_sender_that_could_not_be_resolved_is_not_remembered_as_nobody() -> None:
    world = World(records(), {"policy": {"directory_failure": "accept"}})
    world.decide(Message(login=None, sender=JOE))
    world.goes_down()
    for message in (from_mailbox(to=[JOE]), Message(to=[JOE])):
        assert world.decide(message).incomplete
    world.goes_down(lambda _search_filter: False)

    for message in (from_mailbox(to=[JOE]), Message(to=[JOE])):
        assert outcome(world, message) == outcome(World(records()), message)


def test_a_recipient_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def noted(text: str) -> Address | None:
        parsed.append(text)
        return envelope_address(text)

    for name, module in list(sys.modules.items()):
        if name.startswith("ldapmilter.") and hasattr(module, "envelope_address"):
            monkeypatch.setattr(module, "envelope_address", noted)
    world = World(records())
    crowd = Message(login=None, sender=JOE, to=[TEAM, BOB, "carol@example.com", "x@example.net", BOB])

    world.decide(crowd)

    assert sorted(parsed) == sorted({*crowd.to, JOE})


def test_a_login_that_was_nobodys_is_looked_up_for_the_next_message() -> None:
    world = World(records())
    stranger = Message(login="nobody@example.com", to=[BOB])
    assert world.decide(stranger).verdict == "tempfail"

    world.replace(CHANGES["an account that was missing"]())

    assert world.decide(stranger).verdict == "accept"
    assert world.decide(stranger).searches == 0
