"""What a decision costs the directory, as slapd itself logged it: how many searches, and of which kind.

Three directories hold the same people: without policy groups, with lists for policy groups, and
with policy groups of every kind.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.config import load
from ldapmilter.directory.backend.filters import And, Equal, Filter, Not, Or, Substring, parse
from ldapmilter.message import Envelope
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.opening import open_directory
from ldapmilter.policy.decide import decide
from ldapmilter.schema.definition import own_attributes
from ldapmilter.schema.rights import READ_ATTRIBUTES
from ldapmilter.socket_address import parse_socket
from tests.contract.backends import LASTING
from tests.support import slapd_config
from tests.support.builders import (
    account,
    alias_domain,
    cos,
    custom_group,
    domain,
    dynamic_group,
    global_config,
    server,
    static_list,
)
from tests.support.daemon import Daemon
from tests.support.names import domain_dn, zimbra_id
from tests.support.ports import wait_until
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.opening import OpenDirectory
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

PEOPLE: Final = 400
MEMBERS: Final = 300
_LIMIT: Final = 60.0
DEEP: Final = "deep@example.test"


def person(number: int) -> str:
    return f"p{number}@example.test"


FIRST: Final = {"plain": 6, "policy lists": 6, "policy groups": 6}
"""Searches from the start of a process to its first answer, by directory.

Six, however many policy groups of whatever kind there are.
"""


def records(policy_groups: str) -> list[Record]:
    """Return people in three COSes, a list three deep, and perhaps groups that apply to their members."""
    coses = [zimbra_id("cos", f"c{number}") for number in range(3)]
    dynamic = zimbra_id("group", "crew@example.test")
    people = [person(number) for number in range(PEOPLE)]
    found = [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test", zimbraMtaRecipientDelimiter="+"),
        *server("mbox1.example.test", ["mailbox"], zimbraServiceHostname="192.0.2.17"),
        *(one for number in range(3) for one in cos(f"c{number}", ldapMilterArchiveBcc=f"c{number}@vault.test")),
        *domain("example.test", ldapMilterLegalBcc="hold@vault.test"),
        *alias_domain("alias.test", "example.test"),
        *(
            one
            for number, address in enumerate(people)
            for one in account(address, cos_id=coses[number % 3], zimbraMemberOf=dynamic)
        ),
        *static_list(DEEP, ["middle@example.test"]),
        *static_list("middle@example.test", ["inner@example.test"]),
        *static_list("inner@example.test", people[:MEMBERS]),
        *dynamic_group("crew@example.test", external=["guest@outside.test"]),
    ]
    if policy_groups != "plain":
        found += static_list(
            "watch@example.test",
            [person(1), "watchers@example.test"],
            ldapMilterAppliesToMembers=True,
            ldapMilterLegalBcc="watch@vault.test",
        )
        found += static_list("watchers@example.test", [person(number) for number in range(0, PEOPLE, 7)])
    if policy_groups == "policy groups":
        found += custom_group(
            "chosen@example.test",
            f"ldap:///ou=people,{domain_dn('example.test')}??sub?(uid=p2)",
            ldapMilterAppliesToMembers=True,
            ldapMilterLegalBcc="chosen@vault.test",
        )
        found += dynamic_group("all@example.test", ldapMilterAppliesToMembers=True, ldapMilterLegalBcc="all@vault.test")
    return merge(found)


# -- what slapd logged ----------------------------------------------------------------------

# slapd cuts a line at 4 KiB and loses its newline; what these tests ask about in detail is shorter.
_OPERATION = re.compile(r"conn=(\d+) op=\d+ (BIND dn=\"([^\"]*)\" (?:method|mech)|SRCH base|SRCH attr=([^\n]*)|CMP )")


@dataclass(frozen=True)
class Cost:
    """What one identity did."""

    filters: tuple[str, ...]
    attributes: tuple[frozenset[str], ...]
    compares: int
    binds: int

    @property
    def searches(self) -> int:
        return len(self.filters)


@dataclass(frozen=True)
class Meter:
    """Reads the log of a server, from one moment to the next."""

    kind: str
    slapd: Slapd

    @contextmanager
    def running(self) -> Iterator[list[Cost]]:
        """Add, at the end, what the milter's identity did in between."""
        found: list[Cost] = []
        log, searches = len(self.slapd.log()), self.slapd.searches()
        yield found
        # Of whatever identity: nobody else asks here, and anonymous searches would be no better.
        filters = [search.filter for search in self.slapd.search_log()[searches:]]
        found.append(self._cost(filters, log))

    def _cost(self, filters: Sequence[str], log: int) -> Cost:
        milter: dict[str, bool] = {}
        attributes: list[frozenset[str]] = []
        compares = binds = 0
        text = self.slapd.log()
        for match in _OPERATION.finditer(text):
            connection, operation, dn, names = match.groups()
            if dn is not None:
                milter[connection] = dn.lower() == self.slapd.bind_dn.lower()
            if not milter.get(connection) or match.start() < log:
                continue
            binds += dn is not None
            compares += operation.startswith("CMP")
            if names is not None:
                attributes.append(frozenset(names.lower().split()))
        return Cost(tuple(filters), tuple(attributes), compares, binds)


@dataclass(frozen=True)
class Opened:
    """A directory with an empty cache."""

    config: Config
    directory: OpenDirectory
    meter: Meter

    def decide(self, sender: str, *recipients: str) -> tuple[Decision, Cost]:
        envelope = Envelope(login=sender, client="192.0.2.1", sender=sender, recipients=recipients)
        with self.meter.running() as found:
            decision = decide(
                envelope, self.directory.directory.for_message(), self.config.policy, today=date(2026, 1, 1)
            )
        assert decision.verdict == "accept"
        assert decision.searches == found[0].searches, "what is told and what the server counted differ"
        return decision, found[0]


@pytest.fixture(scope="module", params=FIRST)
def meter(request: pytest.FixtureRequest) -> Iterator[Meter]:
    with Slapd(records(request.param)) as slapd:
        yield Meter(request.param, slapd)


@pytest.fixture
def cold(meter: Meter, tmp_path: Path) -> Iterator[Opened]:
    """Return a directory whose cache holds what the daemon reads when it starts, and nothing else."""
    secret, file = tmp_path / "secret", tmp_path / "config.ini"
    secret.write_text(meter.slapd.password, encoding="utf-8")
    secret.chmod(0o600)
    file.write_text(
        f"[ldap]\nuri = {meter.slapd.uri}\nstarttls = no\nbind_dn = {meter.slapd.bind_dn}\n"
        f"bind_password_file = {secret}\nlookup_deadline = {_LIMIT:g}\n{LASTING}",
        encoding="utf-8",
    )
    config = load(file)
    opened = open_directory(config)
    opened.directory.for_message().warm_up()
    yield Opened(config, opened, meter)
    opened.close()


# -- how many -------------------------------------------------------------------------------


def test_one_cold_recipient(cold: Opened) -> None:
    decision, cost = cold.decide(person(0), person(1))
    assert decision.copies
    assert 1 <= cost.searches <= 4


def test_fifty_cold_recipients(cold: Opened) -> None:
    _, cost = cold.decide(person(0), *(person(number) for number in range(1, 51)))
    assert 1 <= cost.searches <= 6


def test_fifty_that_are_spelled_every_way(cold: Opened) -> None:
    recipients = [
        spelled
        for number in range(17)
        for spelled in (f"p{number}@alias.test", f"P{number}+tag@example.test", f"nobody{number}@alias.test")
    ]
    _, cost = cold.decide(person(20), *recipients)
    assert 1 <= cost.searches <= 6


def test_a_list_three_deep(cold: Opened) -> None:
    decision, cost = cold.decide(person(PEOPLE - 1), DEEP)
    assert len(decision.copies) >= 3
    assert 1 <= cost.searches <= 10


@pytest.mark.parametrize("recipients", [(person(1),), tuple(map(person, range(50))), (DEEP, "crew@example.test")])
def test_the_second_time_costs_nothing(cold: Opened, recipients: tuple[str, ...]) -> None:
    first, _ = cold.decide(person(0), *recipients)
    again, cost = cold.decide(person(0), *recipients)
    assert cost == Cost((), (), 0, 0)
    assert {copy.address.key for copy in again.copies} == {copy.address.key for copy in first.copies}


def test_outsiders_cost_nothing(cold: Opened) -> None:
    outsiders = [f"somebody{number}@outside{number}.test" for number in range(50)]
    envelope = Envelope(client="192.0.2.1", sender="x@outside.test", recipients=tuple(outsiders))
    with cold.meter.running() as found:
        decision = decide(envelope, cold.directory.directory.for_message(), cold.config.policy, today=date(2026, 1, 1))
    assert decision.verdict == "accept"
    assert found == [Cost((), (), 0, 0)]


def test_the_first_message_of_a_process(meter: Meter) -> None:
    """Everything counts that the bind identity asks for, from start to answer."""
    message = Transaction(
        sender=person(0), login=person(0), recipients=[person(1)], headers=[("From", person(0))], queue_id="FIRST1"
    )
    one = {"milter": {"workers": "1"}}  # each process fills a cache of its own
    with meter.running() as found, Daemon(meter.slapd, one) as daemon:
        with MilterClient.connect(parse_socket(daemon.socket), _LIMIT) as client:
            assert client.run(message).verdict is Verdict.ACCEPT
        wait_until(lambda: "the directory answers" in daemon.log(), "the end of the warm-up")
    assert 1 <= found[0].searches <= FIRST[meter.kind]
    # [ldap] connections_per_worker = 4; one that a busy machine keeps waiting is given up for a fresh one.
    assert found[0].binds <= 2 * 4


def test_readability_is_checked_for_a_server_and_confirmed_once_for_an_answer(cold: Opened) -> None:
    _, first = cold.decide(person(0), person(1))
    with cold.meter.running() as found:
        for number in range(2, 40):
            cold.decide(person(number), person(number + 40))
    assert 0 < found[0].compares <= found[0].searches
    assert found[0].binds == 0
    assert first.compares <= 30  # of a few entries, once a minute


# -- of which kind --------------------------------------------------------------------------

_READABLE = {name.lower() for name in (*READ_ATTRIBUTES, *own_attributes())}
_NOBODYS_BUSINESS = {"mail", "userpassword", "sn", "title", "zimbramailhost", "zimbramailtransport", "zimbramailstatus"}
_INDEXES = {
    (attribute.lower(), kind)
    for line in slapd_config._INDEXES.splitlines()
    for attribute, kinds in [line.removeprefix("olcDbIndex: ").split()]
    for kind in kinds.split(",")
}
# Classes that a good part of all entries has: an index on them narrows nothing.
_EVERYBODYS = {"top", "person", "organizationalperson", "inetorgperson", "zimbraaccount", "zimbraalias"}


def narrows(search_filter: Filter) -> bool:
    """Whether slapd finds the candidates by an index, and they are few."""
    if isinstance(search_filter, And):
        return any(map(narrows, search_filter.parts))
    if isinstance(search_filter, Or):
        return all(map(narrows, search_filter.parts))
    if isinstance(search_filter, Equal):
        name = search_filter.attribute.lower()
        common = name == "objectclass" and search_filter.value.lower() in _EVERYBODYS
        return (name, "eq") in _INDEXES and not common
    if isinstance(search_filter, Substring):
        return (search_filter.attribute.lower(), "sub") in _INDEXES
    assert not isinstance(search_filter, Not)
    return False


def every_search(meter: Meter, cold: Opened) -> list[Cost]:
    """Ask for everything that can be asked for, in filters that are short enough to be logged whole."""
    costs = [
        cold.decide(person(0), person(1))[1],
        cold.decide(person(3), "crew@example.test", "p4+tag@alias.test")[1],
        cold.decide(person(5), "nobody@example.test")[1],
    ]
    with meter.running() as found:
        cold.directory.cache.flush()
        cold.directory.directory.for_message().warm_up()
        cold.directory.directory.for_message().is_mailbox_host("192.0.2.17")
    return [*costs, *found]


def test_only_what_is_needed_is_asked_for(meter: Meter, cold: Opened) -> None:
    asked = [names for cost in every_search(meter, cold) for names in cost.attributes]
    assert asked
    for names in asked:
        assert names
        assert not {"*", "+", "1.1"} & names
        assert not names & _NOBODYS_BUSINESS
        # What may not be read is not asked for: it would look as if it were not set.
        assert names <= _READABLE, names - _READABLE


def test_every_filter_is_narrowed_by_an_index(meter: Meter, cold: Opened) -> None:
    filters = [text for cost in every_search(meter, cold) for text in cost.filters if len(text) < 3000]
    assert len(filters) >= 5
    assert [text for text in filters if not narrows(parse(text))] == []


def test_what_is_not_narrow_is_told_apart() -> None:
    wide = ["(objectClass=zimbraAccount)", "(|(mail=a@b)(title=x))", "(objectClass=*)", "(title=x)"]
    narrow = ["(mail=a@b)", "(&(objectClass=zimbraAccount)(zimbraId=1))", "(mail=a*)", "(objectClass=zimbraDomain)"]
    test: Callable[[str], bool] = lambda text: narrows(parse(text))  # noqa: E731 - two lists, one question
    assert not any(map(test, wide))
    assert all(map(test, narrow))
