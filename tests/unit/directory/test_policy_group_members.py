"""A policy group of which it is not known who is in it holds up those in it, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.directory.flush import flush_addresses
from tests.contract.asking import entry
from tests.support.builders import (
    account,
    alias_domain,
    custom_group,
    domain,
    dynamic_group,
    global_config,
    static_list,
)
from tests.support.names import zimbra_id
from tests.support.zimbra_base import base_records
from tests.unit.directory.stage import Theatre, make_small

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

PEOPLE: Final = 60
POLICY: Final = "policy@example.test"
INNER: Final = "inner@example.test"
COPY: Final[dict[str, Any]] = {"ldapMilterArchiveBcc": "watch@vault.test", "ldapMilterAppliesToMembers": True}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def crowd(number: int = PEOPLE) -> list[str]:
    return [f"p{one}@example.test" for one in range(number)]


def people() -> list[Record]:
    return [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test", zimbraMtaRecipientDelimiter=["+", "-"]),
        *domain("example.test"),
        *alias_domain("alias.test", "example.test"),
        *domain(
            "canonical.test",
            zimbraMailCatchAllAddress="@canonical.test",
            zimbraMailCatchAllCanonicalAddress="@alias.test",
        ),
        *(one for name in crowd() for one in account(name)),
        *account("bystander@example.test"),
        *account("forwarder@example.test", zimbraPrefMailForwardingAddress="p3@example.test"),
    ]


def in_policy_list(spelling: str) -> list[Record]:
    return static_list(POLICY, [*crowd(), spelling], **COPY)


def nested(spelling: str) -> list[Record]:
    return [*static_list(POLICY, [*crowd(), "inner@alias.test"], **COPY), *static_list(INNER, [spelling])]


def member(**values: Any) -> list[Record]:
    return account("ann@example.test", zimbraMailAlias=["a.able@example.test"], **values)


SPELLINGS: Final = (
    "ann@example.test",
    "ANN@Example.Test",
    "a.able@example.test",
    "ann@alias.test",
    "ann+news@example.test",
    "a.able-x+y@alias.test",
    # As Postfix reads them, and the server compares none of them with her address.
    "Ann <ann@example.test>",
    "p1@example.test, a.able+x@alias.test",
    '"ann"@example.test',
    "ann@example.test (Ann)",
    "crew: ann@example.test;",
    "@relay.test:ann@example.test",
    "ann%example.test@localhost",
    "example.test!ann@localhost",
    "ann@example.test@localhost",
    "ann@example.test.",
    "ann@canonical.test",
)
TOO_MANY: Final = 50
"""Members that a group may have, at most."""


def copies(decision: Decision) -> list[str]:
    assert decision.verdict == "accept", [notice.text for notice in decision.warnings]
    return [copy.address.key for copy in decision.copies]


def texts(decision: Decision) -> str:
    return " ".join(notice.text for notice in decision.warnings)


def writes(stage: Theatre, login: str) -> Decision:
    return stage.mail("joe@outside.test", login=login)


# -- on its way -----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("way", [in_policy_list, nested])
def test_while_a_group_is_read_it_applies_to_its_members_and_holds_nobody_up(
    way: Callable[[str], list[Record]], spelling: str
) -> None:
    stage = Theatre([*people(), *member(), *way(spelling)])

    assert copies(writes(stage, "bystander@example.test")) == []
    assert copies(writes(stage, "forwarder@example.test")) == []
    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]
    assert copies(stage.mail("ann@example.test")) == ["watch@vault.test"]
    assert copies(stage.mail("p5+x@alias.test")) == ["watch@vault.test"]
    assert len(stage.jobs) >= 1
    stage.run()
    before = stage.store.searches
    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]
    assert copies(writes(stage, "bystander@example.test")) == []
    assert stage.store.searches == before


def test_the_reason_is_the_same() -> None:
    stage = Theatre([*people(), *member(), *nested("ann@example.test")])
    before = writes(stage, "ann@example.test").copies[0].reasons
    stage.run()
    stage.cache.flush(lambda key, _value: key == "ann@example.test")

    assert before == writes(stage, "ann@example.test").copies[0].reasons
    assert [reason.group_path for reason in before] == [(POLICY, INNER)]


@pytest.mark.parametrize("around", ["the group", "a list"])
def test_a_dynamic_group(around: str) -> None:
    crew = zimbra_id("group", "crew@example.test")
    groups = dynamic_group("crew@example.test", **(COPY if around == "the group" else {}))
    if around == "a list":
        groups += static_list(POLICY, ["crew@example.test"], **COPY)
    stage = Theatre(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *(one for name in crowd() for one in account(name, zimbraMemberOf=crew)),
            *account("bystander@example.test"),
            *member(zimbraMemberOf=crew),
            *groups,
        ]
    )

    assert copies(writes(stage, "bystander@example.test")) == []
    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]
    assert stage.jobs


def test_a_list_of_bystanders_does_not_wait_for_it() -> None:
    stage = Theatre(
        [*people(), *in_policy_list("p1@example.test"), *static_list("few@example.test", ["bystander@example.test"])]
    )

    assert copies(stage.mail("few@example.test")) == []


def test_a_directory_that_does_not_answer_holds_everybody_up() -> None:
    stage = Theatre([*people(), *in_policy_list("p1@example.test")])
    stage.store.down = True

    assert writes(stage, "bystander@example.test").verdict == "tempfail"


# -- past a bound ---------------------------------------------------------------------------


def too_large(*more: Record) -> Theatre:
    stage = Theatre([*people(), *member(), *more], groups=TOO_MANY)
    writes(stage, "bystander@example.test")
    stage.run()
    return stage


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("way", [in_policy_list, nested])
def test_a_group_that_is_too_large_applies_to_its_members_and_holds_nobody_up(
    way: Callable[[str], list[Record]], spelling: str
) -> None:
    stage = too_large(*way(spelling))

    assert copies(writes(stage, "bystander@example.test")) == []
    assert copies(stage.mail("bystander@example.test")) == []
    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]
    assert copies(stage.mail("ann@example.test")) == ["watch@vault.test"]
    assert copies(writes(stage, "p3@example.test")) == ["watch@vault.test"]


def test_lists_side_by_side_in_one_hold_nobody_up() -> None:
    """Of a policy list that is too large with them, who is in it is asked from below: it is not read to its end."""
    sides = [f"side{number}@example.test" for number in range(22)]
    lists = [one for name in sides for one in static_list(name, [f"m{one}.{name}" for one in range(TOO_MANY)])]
    last = static_list("last@example.test", ["ann@example.test"])
    stage = too_large(*static_list(POLICY, [*sides, "last@example.test"], **COPY), *lists, *last)

    assert stage.store.searches < TOO_MANY
    assert copies(writes(stage, "bystander@example.test")) == []
    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]


def test_who_waits_for_a_group_is_not_told_by_the_log() -> None:
    catch_all = account("keeper@example.test", zimbraMailCatchAllAddress="@example.test")
    held = writes(too_large(*catch_all, *in_policy_list("x@example.test")), "keeper@example.test")

    assert held.verdict == "tempfail"
    assert "policy@example.test has more than [groups] max_members" in texts(held)
    assert not any(notice.of_list for notice in held.warnings)


def chain(stage: Theatre, name: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the levels of an account where directory_failure is accept, and what could not be asked."""
    view = stage.view(lenient=True)
    levels = next(iter(view.chains([entry(view, name)]).values()))
    return [holder.level for holder in levels], view.failures


def test_where_mail_goes_on_it_applies_to_its_members() -> None:
    catch_all = account("keeper@example.test", zimbraMailCatchAllAddress="@example.test")
    stage = too_large(*in_policy_list("ann@example.test"), *catch_all)

    assert "policy-group" in chain(stage, "ann@example.test")[0]
    assert chain(stage, "ann@example.test")[1] == ()
    assert "policy-group" not in chain(stage, "bystander@example.test")[0]
    assert chain(stage, "bystander@example.test")[1] == ()
    assert chain(stage, "keeper@example.test")[1] == ("whether a policy group applies could not be known",)


def deep(levels: int, bottom: Sequence[str]) -> list[Record]:
    """Return a policy list with lists in it, one in the other."""
    names = [POLICY, *(f"l{number}@example.test" for number in range(1, levels))]
    found = static_list(POLICY, [names[1]], **COPY)
    for name, below in zip(names[1:], [*names[2:], None], strict=True):
        found += static_list(name, [below] if below is not None else list(bottom))
    return found


@pytest.mark.parametrize(("levels", "verdict"), [(21, "accept"), (22, "tempfail"), (25, "tempfail")])
def test_lists_nested_too_deep_hold_up_those_at_the_bottom(levels: int, verdict: str) -> None:
    stage = Theatre([*people(), *member(), *deep(levels, ["ann@example.test"])])

    assert copies(writes(stage, "bystander@example.test")) == []
    assert copies(writes(stage, "p3@example.test")) == []
    assert writes(stage, "ann@example.test").verdict == verdict


def test_lists_that_contain_each_other_end() -> None:
    ring = [*static_list("one@example.test", ["two@example.test", "ann@example.test"])]
    ring += static_list("two@example.test", ["one@example.test"])
    stage = too_large(*ring, *static_list(POLICY, [*crowd(), "two@example.test"], **COPY))

    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]
    assert copies(writes(stage, "bystander@example.test")) == []


def test_whoever_takes_what_nobody_has_cannot_be_ruled_out() -> None:
    catch_all = account("keeper@example.test", zimbraMailCatchAllAddress="@example.test")
    stage = too_large(*catch_all, *in_policy_list("zz-nobody@example.test"))

    assert writes(stage, "keeper@example.test").verdict == "tempfail"
    assert copies(writes(stage, "bystander@example.test")) == []


@pytest.mark.parametrize(("chosen", "verdict"), [("ann", "tempfail"), ("p3", "tempfail"), ("other", "accept")])
def test_a_search_of_its_own_inside_a_list_that_is_too_large(chosen: str, verdict: str) -> None:
    url = "ldap:///??sub?(|(uid=ann)(uid=p3))"
    stage = too_large(
        *account("other@example.test"),
        *custom_group("chosen@example.test", url),
        *static_list(POLICY, [*(f"q{n}@outside.test" for n in range(PEOPLE)), "chosen@example.test"], **COPY),
    )

    assert writes(stage, f"{chosen}@example.test").verdict == verdict


@pytest.mark.parametrize("flushed", [INNER, "ann@example.test"])
def test_a_flush_reaches_who_is_named_by_what(flushed: str) -> None:
    stage = too_large(*nested("nobody@outside.test"))
    assert copies(writes(stage, "ann@example.test")) == []
    stage.store.fill([*people(), *member(), *nested("ann@example.test")])
    assert copies(writes(stage, "ann@example.test")) == []

    flush_addresses(stage.cache, [flushed], stage.directory.present)

    assert copies(writes(stage, "ann@example.test")) == ["watch@vault.test"]
