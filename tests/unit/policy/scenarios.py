"""What can go wrong, by the words of the table "failure" in docs/policy.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.support import builders
from tests.unit.policy.example import GLOBAL, example_records
from tests.unit.policy.world import ANN, BOB, Message, World, addresses, warnings_about

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.policy.model import Decision
    from tests.support.builders import Value
    from tests.support.record import Record
    from tests.unit.policy.table import Row

    Setting = dict[str, dict[str, str]]
    Scenario = Callable[[Setting], Decision]

EVERYBODY: Final = [
    "ann.archive@example.net",
    "ann.legal@example.net",
    "bob.archive@example.net",
    "bob.legal@example.net",
    "domain.legal@example.net",
]
COPIES: Final = 5
NOBODY: Final = "nobody@example.com"


def _records(
    ann: dict[str, Value] | None = None, *more: Record, domain: dict[str, Value] | None = None
) -> list[Record]:
    return example_records(
        {
            ANN: {
                "ldapMilterArchiveBcc": "ann.archive@example.net",
                "ldapMilterLegalBcc": "ann.legal@example.net",
                **(ann or {}),
            },
            BOB: {
                "ldapMilterArchiveBcc": "bob.archive@example.net",
                "ldapMilterLegalBcc": "bob.legal@example.net",
            },
            "example.com": {"ldapMilterLegalBcc": "domain.legal@example.net", **(domain or {})},
            GLOBAL: {},
        },
        *more,
    )


def _with(setting: Setting, section: str, **values: str) -> Setting:
    return {**setting, section: {**setting.get(section, {}), **values}}


def _nothing(setting: Setting) -> Decision:
    return World(_records(), setting).decide(Message(to=[BOB]))


def _silent(setting: Setting) -> Decision:
    world = World(_records(), setting)
    world.goes_down()
    return world.decide(Message(to=[BOB]))


def _silent_after(setting: Setting, seconds: float, recipient: str = BOB) -> Decision:
    world = World(_records(), setting)
    before = world.decide(Message(to=[recipient]))
    assert before.verdict == "accept"
    world.clock.now += seconds
    world.goes_down()
    return world.decide(Message(to=[recipient]))


def _remembered(setting: Setting) -> Decision:
    return _silent_after(setting, 1000)


def _remembered_too_long(setting: Setting) -> Decision:
    return _silent_after(setting, 90_000)


def _absent_before(setting: Setting) -> Decision:
    return _silent_after(setting, 1000, NOBODY)


def _silent_about_bob(setting: Setting) -> Decision:
    world = World(_records(), setting)
    world.decide(Message(to=["joe@client.example.net"]))
    world.goes_down(lambda search_filter: BOB in search_filter)
    return world.decide(Message(to=[BOB]))


def _two_recipients(setting: Setting) -> Decision:
    # Zimbra keeps addresses unique; entries made by hand may not.
    twin = builders.account("twin@example.com", aliases=[BOB], ldapMilterArchiveBcc="twin.archive@example.net")
    entry = twin[0]
    decision = World(_records(None, entry), setting).decide(Message(to=[BOB]))
    assert warnings_about(decision, "uid=twin,ou=people,dc=example,dc=com", "uid=bob,ou=people,dc=example,dc=com")
    return decision


def _two_logins(setting: Setting) -> Decision:
    twin = builders.account("twin@example.com", aliases=[ANN], ldapMilterArchiveBcc="twin.archive@example.net")
    decision = World(_records(None, twin[0]), setting).decide(Message(to=[BOB]))
    assert decision.unavailable or decision.incomplete
    return decision


def _unknown_login(setting: Setting) -> Decision:
    return World(_records(), setting).decide(Message(login=NOBODY, to=[BOB]))


def _too_many_members(setting: Setting) -> Decision:
    members = [f"m{number}@client.example.net" for number in range(4)]
    crowd = builders.static_list("crowd@example.com", members)
    world = World(_records(None, *crowd), _with(setting, "groups", max_members="3"))
    decision = world.decide(Message(to=[BOB, "crowd@example.com"]))
    assert warnings_about(decision, "crowd@example.com") or "crowd@example.com" in " ".join(decision.incomplete)
    return decision


def _too_deep(setting: Setting) -> Decision:
    chain = [
        record
        for number in range(6)
        for record in builders.static_list(f"deep{number}@example.com", [f"deep{number + 1}@example.com"])
    ]
    last = builders.static_list("deep6@example.com", ["joe@client.example.net"])
    world = World(_records(None, *chain, *last), _with(setting, "groups", max_depth="2"))
    return world.decide(Message(to=[BOB, "deep0@example.com"]))


def _cycle(setting: Setting) -> Decision:
    ring = [
        record
        for name, other in (("ring", "gnir"), ("gnir", "ring"))
        for record in builders.static_list(f"{name}@example.com", [f"{other}@example.com", f"{name}@example.com"])
    ]
    decision = World(_records(None, *ring), setting).decide(Message(to=[BOB, "ring@example.com"]))
    assert not decision.warnings
    return decision


def _too_many_copies(setting: Setting) -> Decision:
    return World(_records(), _with(setting, "policy", max_copies="3")).decide(Message(to=[BOB]))


def _invalid_archive(setting: Setting) -> Decision:
    return World(_records({"ldapMilterArchiveBcc": ["ann.archive@example.net", "broken"]}), setting).decide(
        Message(to=[BOB])
    )


def _invalid_legal(setting: Setting) -> Decision:
    return World(_records({"ldapMilterLegalBcc": ["ann.legal@example.net", "broken"]}), setting).decide(
        Message(to=[BOB])
    )


def _invalid_from(setting: Setting) -> Decision:
    decision = World(_records({"ldapMilterSenderFromRewrite": "* to legal@example.com"}), setting).decide(
        Message(to=[BOB])
    )
    assert decision.from_change is None
    return decision


SCENARIOS: Final[dict[str, Scenario]] = {
    "nothing": _nothing,
    "the directory does not answer and nothing is remembered": _silent,
    "the directory does not answer and everything is remembered": _remembered,
    "the directory does not answer and everything is remembered, but too old": _remembered_too_long,
    "the directory does not answer about bob": _silent_about_bob,
    "the directory does not answer about an address that was absent": _absent_before,
    "two entries have the recipient's address": _two_recipients,
    "two entries have the login": _two_logins,
    "nobody has the login": _unknown_login,
    "a list has too many members": _too_many_members,
    "lists are nested too deep": _too_deep,
    "lists contain each other": _cycle,
    "more copies than max_copies": _too_many_copies,
    "an archive value is invalid": _invalid_archive,
    "a legal value is invalid": _invalid_legal,
    "a From rule is invalid": _invalid_from,
}


def run_scenario(row: Row) -> None:
    """Let it happen and compare with the other columns."""
    decision = SCENARIOS[row.text("what happens")](_setting(row.value("setting")))
    assert _outcome(decision) == row.text("the message")
    if decision.verdict == "tempfail":
        assert decision.smtp_reply is not None
        assert decision.smtp_reply.startswith("451 4.3.0 ")
        return
    assert decision.smtp_reply is None
    copies = row.text("copies")
    if copies == "only so many":
        assert len(decision.copies) == COPIES - 2
    elif copies == "none":
        assert not decision.copies
    else:
        assert sorted(addresses(decision)) == sorted(row.values("copies") or EVERYBODY)


def _outcome(decision: Decision) -> str:
    if decision.verdict == "tempfail":
        return "waits"
    words = ["goes on"]
    if decision.incomplete:
        words.append("incomplete")
    if decision.stale:
        words.append("stale")
    return ", ".join(words)


def _setting(text: str) -> Setting:
    if not text:
        return {}
    match = re.fullmatch(r"\[([a-z ]+)\] ([a-z_]+) = (\S+)", text)
    assert match is not None, text
    return {match[1]: {match[2]: match[3]}}
