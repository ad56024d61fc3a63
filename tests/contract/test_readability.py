"""What may not be read is never taken for what is not set: a real server hides, lacks, and gives back."""

from __future__ import annotations

import shutil
import time
from datetime import date
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.message import Envelope, Headers
from ldapmilter.opening import directory_over
from ldapmilter.policy.decide import decide, decide_whole
from tests.support.builders import (
    account,
    cos,
    data_source,
    domain,
    dynamic_group,
    global_config,
    global_grants,
    static_list,
)
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.names import account_dn, cos_dn, domain_dn, zimbra_id
from tests.support.ports import wait_until
from tests.support.record import Record, merge, without_policy
from tests.support.slapd import Slapd
from tests.support.slapd_config import ROOT_DN, ROOT_PASSWORD
from tests.support.zimbra_base import base_records
from tests.unit.policy.world import read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ldapmilter.policy.model import Decision

ANN: Final = "ann@example.test"
BOB: Final = "bob@example.test"
EVE: Final = "eve@example.test"
DESK: Final = "desk@example.test"
LIST: Final = "list@example.test"
JOE: Final = "joe@outside.test"
GLOBAL_DN: Final = "cn=config,cn=zimbra"
CHECKED_EVERY: Final = 61.0
"""Seconds after which a server that was fine has been checked again."""
CHECKED_AGAIN: Final = 3.0
"""The same of a server that did not let the policy be read."""


def _records() -> list[Record]:
    """Return ann under a policy (her COS's, her domain's and her group's), and bob and eve."""
    group = zimbra_id("group", "watch@example.test")
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *cos("sales", ldapMilterLegalBcc="sales@vault.test"),
            *domain(
                "example.test",
                zimbraDomainDefaultCOSId=zimbra_id("cos", "sales"),
                ldapMilterLegalBcc="domain@vault.test",
            ),
            *account(
                ANN,
                aliases=["alias@example.test"],
                zimbraMemberOf=group,
                zimbraPrefMailForwardingAddress=BOB,
            ),
            *account(BOB, cos_id=zimbra_id("cos", "default"), aliases=["second@example.test"]),
            *account(EVE),
            *account(DESK, ldapMilterFromEnforce="reject"),
            *data_source(DESK, "desk@elsewhere.test"),
            *global_grants(),
            *static_list(LIST, [BOB]),
            *dynamic_group(
                "watch@example.test", ldapMilterLegalBcc="watch@vault.test", ldapMilterAppliesToMembers=True
            ),
        ]
    )


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Milter:
    """Decisions over LDAP servers, as the daemon opens them."""

    def __init__(self, *servers: Slapd) -> None:
        self.clock = Clock()
        config = read_config({})
        self.policy = config.policy
        settings = LdapSettings(
            uris=tuple(server.uri for server in servers),
            bind_dn=MILTER_DN,
            read_password=lambda: MILTER_PASSWORD,
            starttls=False,
            policy_attributes=tuple(sorted(config.policy.attributes())),
        )
        self.store = LdapStore(settings, self.clock)
        config = replace(config, ldap=replace(config.ldap, lookup_deadline=60))
        wired = directory_over(
            self.store, config, self.clock, lambda work: work(), host_addresses=lambda _names: frozenset()
        )
        self.cache, self.directory = wired.cache, wired.directory

    def decide(self, login: str | None = ANN, to: str = JOE) -> Decision:
        """Decide with nothing remembered: every decision here is about what can be read now."""
        self.cache.flush()
        return self.decide_warm(login, to)

    def decide_warm(self, login: str | None = ANN, to: str = JOE) -> Decision:
        """Decide with what is remembered."""
        envelope = Envelope(login=login, client="198.51.100.9", sender=login or JOE, recipients=(to,))
        return decide(envelope, self.directory.for_message(), self.policy, today=date(2026, 6, 15))

    def writes_as(self, address: str) -> Decision:
        """Decide about mail of the desk, on whom From is enforced."""
        self.cache.flush()
        envelope = Envelope(login=DESK, client="198.51.100.9", sender=DESK, recipients=(JOE,))
        headers = Headers(fields=(("from", address),))
        return decide_whole(envelope, headers, self.directory.for_message(), self.policy, today=date(2026, 6, 15))

    def later(self) -> None:
        """Let the time pass after which servers are checked again."""
        self.clock.ahead += CHECKED_EVERY

    def refuses(self, login: str | None = ANN, to: str = JOE) -> str:
        """Decide, make sure that the mail waits because the directory is unavailable, and return why."""
        decision = self.decide(login, to)
        assert decision.verdict == "tempfail"
        assert (decision.smtp_reply or "").startswith("451 4.3.0 ")
        assert decision.unavailable
        assert not decision.copies
        return " ".join(notice.text for notice in decision.warnings)

    def gives(self, login: str | None = ANN, to: str = JOE) -> set[str]:
        """Decide, make sure that the mail goes on, and return the copies."""
        decision = self.decide(login, to)
        assert decision.verdict == "accept", [notice.text for notice in decision.warnings]
        return {copy.address.key for copy in decision.copies}


ALL_OF_ANN: Final = {"watch@vault.test", "sales@vault.test", "domain@vault.test"}


def _mail_database(server: Slapd) -> str:
    """Return the DN of the database with the empty suffix: its number depends on replication."""
    code, text = server.search(
        ROOT_DN, ROOT_PASSWORD, "-b", "cn=config", "(objectClass=olcMdbConfig)", "olcSuffix", "olcDatabase"
    )
    assert code == 0
    (dn,) = [
        block.splitlines()[0].removeprefix("dn: ")
        for block in text.split("\n\n")
        if "\nolcSuffix:" in block and "\nolcSuffix: " not in block
    ]
    return dn


def hide(server: Slapd, what: str) -> Callable[[], None]:
    """Hide something from the milter's identity while the server runs; return what undoes it."""
    dn = _mail_database(server)
    head = f"dn: {dn}\nchangetype: modify\n"
    server.modify(f'{head}add: olcAccess\nolcAccess: {{0}}to {what} by dn.exact="{MILTER_DN}" none by * +0 break\n')
    return lambda: server.modify(f"{head}delete: olcAccess\nolcAccess: {{0}}\n")


@pytest.fixture(scope="module")
def server() -> Iterator[Slapd]:
    """Return a server whose access rules tests change and change back."""
    with Slapd(_records()) as running:
        yield running


@pytest.fixture(scope="module")
def bare() -> Iterator[Slapd]:
    """Return a server without the schema."""
    with Slapd(without_policy(_records()), with_schema=False) as running:
        yield running


@pytest.fixture
def undo() -> Iterator[list[Callable[[], None]]]:
    """Collect what puts a server right again."""
    steps: list[Callable[[], None]] = []
    yield steps
    for step in steps:
        step()


@pytest.fixture
def milter(server: Slapd) -> Iterator[Milter]:
    made = Milter(server)
    yield made
    made.store.close()


# -- everything may be read -----------------------------------------------------------------


def test_values_that_are_not_set_are_fine(milter: Milter) -> None:
    # Nobody has an archive copy, a rule or a From, and the default COS has nothing at all.
    assert milter.gives() == ALL_OF_ANN
    assert milter.gives(BOB) == {"domain@vault.test"}
    milter.later()
    assert milter.gives() == ALL_OF_ANN
    assert milter.store.problems() == []


def test_a_directory_without_any_policy_is_fine() -> None:
    with Slapd(without_policy(_records())) as empty:
        milter = Milter(empty)
        assert milter.gives() == set()
        milter.later()
        assert milter.gives() == set()
        assert milter.store.problems() == []
        milter.store.close()


# -- hidden ---------------------------------------------------------------------------------

PLACES: Final = {
    "COS": ('dn.subtree="cn=cos,cn=zimbra" attrs={}', cos_dn("default")),
    "global config": (f'dn.base="{GLOBAL_DN}" attrs={{}}', GLOBAL_DN),
    "domain": (f'dn.base="{domain_dn("example.test")}" attrs={{}}', domain_dn("example.test")),
    "account": (f'dn.subtree="ou=people,{domain_dn("example.test")}" attrs={{}}', account_dn(ANN)),
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("attribute", ["ldapMilterLegalBcc", "ldapMilterSenderFromRewrite"])
def test_a_policy_that_is_hidden_is_unavailable(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], kind: str, attribute: str
) -> None:
    what, dn = PLACES[kind]
    undo.append(hide(server, what.format(attribute)))

    text = milter.refuses()

    for word in (server.uri, attribute, kind, dn):
        assert word in text
    (problem,) = milter.store.problems()
    assert problem.startswith(f"{server.uri}: ")
    assert attribute in problem
    # It stays so for whoever else mails.
    milter.refuses(BOB)
    milter.refuses(None, EVE)


@pytest.mark.parametrize("kind", PLACES)
def test_an_entry_that_is_hidden_is_unavailable(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], kind: str
) -> None:
    assert milter.gives() == ALL_OF_ANN
    what, _ = PLACES[kind]
    undo.append(hide(server, what.format("entry")))
    milter.later()

    text = milter.refuses()

    # A domain that cannot be seen is missed already when the list of domains is read.
    assert kind in text or "zimbraDomain" in text


@pytest.mark.parametrize("kind", ["account", "domain"])
def test_what_chooses_the_cos_is_needed_too(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], kind: str
) -> None:
    attribute = {"account": "zimbraCOSId", "domain": "zimbraDomainDefaultCOSId"}[kind]
    undo.append(hide(server, f"attrs={attribute}"))

    assert attribute in milter.refuses()


@pytest.mark.parametrize(
    ("what", "login", "to"),
    [
        pytest.param("attrs=ldapMilterAppliesToMembers", ANN, JOE, id="which groups apply to their members"),
        pytest.param('attrs=objectClass val="ldapMilterPolicy"', ANN, JOE, id="the class of policy groups"),
        pytest.param("attrs=zimbraMemberOf", ANN, JOE, id="who is in a dynamic group"),
        pytest.param("attrs=zimbraMailAlias", None, "second@example.test", id="whose an alias is"),
        pytest.param("attrs=zimbraPrefMailForwardingAddress", None, ANN, id="where an account forwards to"),
        pytest.param("attrs=zimbraMailForwardingAddress", None, LIST, id="who is on a list"),
    ],
)
def test_whatever_else_policy_needs_is_needed_too(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], what: str, login: str | None, to: str
) -> None:
    whole = milter.decide(login, to).copies
    undo.append(hide(server, what))
    milter.later()

    decision = milter.decide(login, to)

    # Whatever the mail loses it may not lose in silence.
    assert decision.unavailable, f"{len(whole)} copies before, {len(decision.copies)} now"


HIDDEN_RIGHTS: Final = {
    "zimbraACE": "attrs=zimbraACE",
    "zimbraACE of the domain": f'dn.base="{domain_dn("example.test")}" attrs=zimbraACE',
    "zimbraACE of the global grant": 'dn.base="cn=globalgrant,cn=zimbra" attrs=zimbraACE',
    "zimbraAllowFromAddress": "attrs=zimbraAllowFromAddress",
    "zimbraDataSourceEmailAddress": "attrs=zimbraDataSourceEmailAddress",
    "zimbraDataSourceEnabled": "attrs=zimbraDataSourceEnabled",
}


@pytest.mark.parametrize("named", HIDDEN_RIGHTS)
def test_rights_that_are_hidden_are_unavailable_and_nothing_else_is(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], named: str
) -> None:
    assert milter.writes_as(BOB).verdict == "reject"
    assert milter.writes_as("desk@elsewhere.test").verdict == "accept"
    show = hide(server, HIDDEN_RIGHTS[named])
    undo.append(show)
    milter.later()
    milter.gives()

    for address in (BOB, JOE):
        decision = milter.writes_as(address)
        assert (decision.verdict, decision.unavailable) == ("tempfail", True)
        text = " ".join(notice.text for notice in decision.warnings)
        assert server.uri in text
        assert named in text
        assert "may not be read" in text

    # Nobody else's mail waits for it, nor their own as they are.
    assert milter.writes_as(DESK).verdict == "accept"
    assert milter.gives() == ALL_OF_ANN
    assert milter.store.problems() == []
    undo.remove(show)
    show()
    milter.later()
    wait_until(lambda: milter.writes_as(BOB).verdict == "reject", "rights to be read again", pause=0.2)


def test_it_recovers_by_itself(server: Slapd, milter: Milter, undo: list[Callable[[], None]]) -> None:
    show = hide(server, "attrs=ldapMilterLegalBcc")
    undo.append(show)
    milter.refuses()
    undo.remove(show)
    show()

    wait_until(lambda: milter.decide().verdict == "accept", "the policy to be read again", pause=0.2)

    assert milter.gives() == ALL_OF_ANN
    assert milter.store.problems() == []


def test_what_becomes_hidden_while_it_runs_is_found_by_the_next_check(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], caplog: pytest.LogCaptureFixture
) -> None:
    assert milter.gives() == ALL_OF_ANN
    undo.append(hide(server, "attrs=ldapMilterLegalBcc"))
    milter.later()

    assert "ldapMilterLegalBcc" in milter.refuses()
    # While it lasts the servers' problems tell, from which the parent writes one line for all workers.
    for _ in range(5):
        milter.refuses()
    assert "ldapMilterLegalBcc" in " ".join(milter.store.problems())
    assert [record for record in caplog.records if "ldapMilterLegalBcc" in record.getMessage()] == []


TAKEN_AWAY: Final = {
    "an attribute of accounts": f'dn.subtree="ou=people,{domain_dn("example.test")}" attrs=ldapMilterLegalBcc',
    "an attribute of COSes": 'dn.subtree="cn=cos,cn=zimbra" attrs=ldapMilterLegalBcc',
    "an attribute of domains": f'dn.base="{domain_dn("example.test")}" attrs=ldapMilterLegalBcc',
    "an attribute of the global config": f'dn.base="{GLOBAL_DN}" attrs=ldapMilterLegalBcc',
    "all of every entry": "*",
    "accounts and lists": f'dn.subtree="ou=people,{domain_dn("example.test")}"',
    "that there are accounts": f'dn.subtree="ou=people,{domain_dn("example.test")}" attrs=entry',
    "COSes": 'dn.subtree="cn=cos,cn=zimbra"',
    "what accounts are found by": "attrs=zimbraMailDeliveryAddress",
    "what aliases are found by": "attrs=zimbraMailAlias",
    "who is a member": "attrs=zimbraMailForwardingAddress",
    "what groups and COSes are found by": "attrs=zimbraId",
    "what catch-alls are found by": "attrs=zimbraMailCatchAllAddress",
    "which groups apply to their members": "attrs=ldapMilterAppliesToMembers",
}


@pytest.mark.parametrize("named", TAKEN_AWAY)
def test_what_becomes_hidden_while_it_runs_is_not_taken_for_absent_by_the_very_next_search(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], named: str
) -> None:
    known = {to: milter.gives(to=to) for to in (LIST, "second@example.test", "nobody@example.test")}
    show = hide(server, TAKEN_AWAY[named])
    undo.append(show)

    for to in known:
        milter.refuses(to=to)
    milter.refuses(None, LIST)
    milter.refuses(None, "second@example.test")

    undo.remove(show)
    show()
    milter.clock.ahead += CHECKED_AGAIN
    wait_until(
        lambda: not any(milter.decide_warm(to=to).unavailable for to in known),
        "the policy to be read again",
        pause=0.05,
    )
    # What was said meanwhile is not remembered either.
    assert {to: {copy.address.key for copy in milter.decide_warm(to=to).copies} for to in known} == known


@pytest.mark.parametrize("named", ["accounts and lists", "what accounts are found by", "an attribute of accounts"])
def test_what_was_known_before_it_became_hidden_counts_still(
    server: Slapd, milter: Milter, undo: list[Callable[[], None]], named: str
) -> None:
    whole = milter.gives(to=BOB)
    undo.append(hide(server, TAKEN_AWAY[named]))

    decision = milter.decide_warm(to=BOB)

    assert (decision.verdict, {copy.address.key for copy in decision.copies}) == ("accept", whole)
    assert milter.decide_warm(None, EVE).unavailable


def test_an_identity_without_rights_of_its_own() -> None:
    with Slapd(_records(), milter_acl=False) as closed:
        milter = Milter(closed)
        assert "may not read" in milter.refuses() or "cannot be seen" in milter.refuses()
        milter.store.close()


def test_an_account_that_is_deleted_is_not_hidden() -> None:
    with Slapd(_records()) as own:
        milter = Milter(own)
        for name in (ANN, EVE, BOB):
            milter.gives(name)
        for name in ("alias@example.test", ANN, EVE):
            own.delete(account_dn(name))
        try:
            for _ in range(5):
                milter.later()
                decision = milter.decide(BOB)
            assert decision.verdict == "accept", [notice.text for notice in decision.warnings]
            assert {copy.address.key for copy in decision.copies} == {"domain@vault.test"}
            assert milter.store.problems() == []
        finally:
            milter.store.close()


@pytest.mark.parametrize(("filled", "words"), [("nothing", "bind as"), ("all but people", "cannot be seen")])
def test_a_server_that_was_rebuilt_empty_does_not_say_that_everybody_is_gone(filled: str, words: str) -> None:
    records = [one for one in _records() if "ou=people" not in one.dn] if filled == "all but people" else []
    with Slapd(_records()) as own, Slapd(records) as empty:
        milter = Milter(own)
        assert milter.gives() == ALL_OF_ANN
        own.stop()
        data, kept = own.directory / "data", own.directory / "kept"
        data.rename(kept)
        shutil.copytree(empty.directory / "data", data)
        own.start()
        for login in (ANN, None):
            milter.refuses(login, "second@example.test")
        assert words in " ".join(milter.store.problems())
        own.stop()
        shutil.rmtree(data)
        kept.rename(data)
        own.start()
        milter.clock.ahead += CHECKED_AGAIN
        wait_until(lambda: milter.decide().verdict == "accept", "the directory to be whole again", pause=0.2)
        assert milter.gives() == ALL_OF_ANN
        milter.store.close()


# -- schema ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["bare", "whole"])
def test_a_server_without_the_schema_is_passed_over(server: Slapd, bare: Slapd, first: str) -> None:
    milter = Milter(*((bare, server) if first == "bare" else (server, bare)))
    for _ in range(3):
        assert milter.gives() == ALL_OF_ANN
        milter.later()
    problems = milter.store.problems()
    if first == "bare":
        assert [problem.partition(": ")[0] for problem in problems] == [bare.uri]
        assert "the schema lacks 16 attributes (ldapMilterAppliesToMembers and others)" in problems[0]
    milter.store.close()


def test_a_server_without_the_schema_does_not_stand_in_for_one_that_is_down(server: Slapd, bare: Slapd) -> None:
    milter = Milter(server, bare)
    assert milter.gives() == ALL_OF_ANN
    server.stop()
    try:
        text = milter.refuses()
        assert bare.uri in text
        assert "schema" in text
    finally:
        server.start()
    wait_until(lambda: milter.decide().verdict == "accept", "the server that has it", pause=0.2)
    assert milter.gives() == ALL_OF_ANN
    milter.store.close()


def test_the_schema_nowhere_is_unavailable_until_it_is_there(bare: Slapd) -> None:
    with Slapd(without_policy(_records()), with_schema=False) as other:
        milter = Milter(bare, other)
        text = milter.refuses()
        assert bare.uri in text
        assert other.uri in text
        assert "schema" in text
        assert len(milter.store.problems()) == 2
        milter.store.close()


def test_an_account_hidden_at_the_first_server_is_read_at_the_second(
    server: Slapd, undo: list[Callable[[], None]]
) -> None:
    with Slapd(_records()) as other:
        milter = Milter(server, other)
        undo.append(hide(server, f'dn.subtree="ou=people,{domain_dn("example.test")}" attrs=ldapMilterLegalBcc'))
        assert milter.gives() == ALL_OF_ANN
        assert [problem.partition(": ")[0] for problem in milter.store.problems()] == [server.uri]
        milter.store.close()
