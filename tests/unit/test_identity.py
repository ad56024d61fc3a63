"""Who is sending, beyond the plain login and mailbox: persons, re-injection, servers that change, odd logins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.address import envelope_address
from ldapmilter.mailbox.reading import read_from
from ldapmilter.message import Envelope
from ldapmilter.opening import directory_over
from ldapmilter.policy.decide import decide
from ldapmilter.policy.identity import UNKNOWN, IdentityPolicy, Sender, by_login, by_mailbox, claim_of
from tests.support import builders
from tests.support.fake_store import FakeStore
from tests.unit.directory.hand import Clock, at_once
from tests.unit.policy.example import GLOBAL, example, example_records
from tests.unit.policy.test_tables import for_rows_of
from tests.unit.policy.world import (
    ANN,
    BOB,
    JOE,
    MAILBOX_SERVER,
    OUTSIDER,
    TODAY,
    Message,
    World,
    addresses,
    read_config,
    warnings_about,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.directory.interface import Directory
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record
    from tests.unit.policy.table import Row
    from tests.unit.policy.world import Options

HEADER: Final = "X-Authenticated-User"
ADDS: Final = {"zimbraSmtpSendAddAuthenticatedUser": True}
TRUST: Final = {"identity": {"trust_x_authenticated_user": "yes"}}
ARCHIVE: Final = "ldapMilterArchiveSentBcc"


def from_mailbox(*names: str, mailbox: str = BOB, **more: Any) -> Message:
    """Return mail that a mailbox server sends, with the header once for each name."""
    headers = [("Subject", "hello"), *((HEADER, name) for name in names)]
    return Message(login=None, client=MAILBOX_SERVER, sender=mailbox, headers=headers, **more)


def delegation(*more: Record, options: Options | None = None, **ann: Any) -> World:
    """Return a directory in which ann and bob have a copy each, and persons are trusted."""
    values = {
        BOB: {ARCHIVE: "bob@vault.example.net"},
        ANN: {ARCHIVE: "ann@vault.example.net", **ann},
        GLOBAL: ADDS,
    }
    return example(values, *more, options={**TRUST, **(options or {})})


# -- the person behind a mailbox ------------------------------------------------------------


@for_rows_of("person")
def test_person(row: Row) -> None:
    names = [name for name in row.values("`X-Authenticated-User`, in order") if name != "none"]
    people = {BOB: "bob", ANN: "ann", "carol@example.com": "carol", "team@example.com": "team"}
    values: dict[str, dict[str, Any]] = {
        address: {
            ARCHIVE: f"{name}@vault.example.net",
            "ldapMilterSenderFromRewrite": f"* => {name}-from@example.com",
        }
        for address, name in people.items()
    }
    values[GLOBAL] = {"zimbraSmtpSendAddAuthenticatedUser": row.is_yes("Zimbra adds it")}
    options = {"identity": {"trust_x_authenticated_user": row.text("trusted")}}

    decision = example(values, options=options).decide(from_mailbox(*names))

    expected = [f"{name.partition('@')[0]}@vault.example.net" for name in row.values("sent copies of")]
    assert sorted(addresses(decision)) == sorted(expected)
    assert bool(warnings_about(decision, HEADER)) == row.is_yes("warning")
    assert (decision.identity.source, str(decision.identity.address)) == ("mailbox-host", BOB)
    assert decision.from_change is not None
    (mailbox,) = read_from([decision.from_change.value]).mailboxes
    assert mailbox.address.key == "bob-from@example.com"


@pytest.mark.parametrize(("trust", "adds"), [("yes", True), ("yes", False), ("no", True), ("no", False)])
def test_the_header_is_read_only_where_it_counts(trust: str, adds: bool) -> None:  # noqa: FBT001 - a table
    options = {"identity": {"trust_x_authenticated_user": trust}}
    world = example({GLOBAL: {"zimbraSmtpSendAddAuthenticatedUser": adds}}, options=options)

    needed = world.at_data(from_mailbox()).headers_needed

    assert (HEADER.lower() in needed) == (trust == "yes" and adds)


@pytest.mark.parametrize(
    "message",
    [
        Message(login="carol@example.com", headers=[(HEADER, ANN)]),
        Message(login="carol@example.com", client=MAILBOX_SERVER, headers=[(HEADER, ANN)]),
        Message(login=None, client=OUTSIDER, sender=BOB, headers=[(HEADER, ANN)]),
        Message(login=None, client=MAILBOX_SERVER, sender="", headers=[(HEADER, ANN)]),
        Message(login=None, client=MAILBOX_SERVER, sender=JOE, headers=[(HEADER, ANN)]),
        Message(login=None, client=MAILBOX_SERVER, sender=BOB, submitted_locally=True, headers=[(HEADER, ANN)]),
    ],
    ids=["login", "login at a mailbox server", "outsider", "null sender", "foreign sender", "sendmail"],
)
def test_nobody_else_can_name_a_person(message: Message) -> None:
    world = delegation()

    assert HEADER.lower() not in world.at_data(message).headers_needed
    assert addresses(world.decide(message)) == []


def test_the_levels_of_the_person_are_the_persons() -> None:
    values: dict[str, dict[str, Any]] = {
        "sales": {ARCHIVE: "sales@vault.example.net"},  # ann's COS
        "default": {ARCHIVE: "default@vault.example.net"},  # bob's
        "big@example.com": {"ldapMilterLegalSentBcc": "big@vault.example.net", "ldapMilterAppliesToMembers": True},
        GLOBAL: ADDS,
    }

    decision = example(values, options=TRUST).decide(from_mailbox(ANN))

    assert addresses(decision) == ["default@vault.example.net", "sales@vault.example.net", "big@vault.example.net"]


def test_what_both_ask_for_is_one_copy_with_both_reasons() -> None:
    values: dict[str, dict[str, Any]] = {
        BOB: {ARCHIVE: "vault@example.net"},
        ANN: {ARCHIVE: "VAULT@example.net"},
        GLOBAL: ADDS,
    }

    (copy,) = example(values, options=TRUST).decide(from_mailbox(ANN)).copies

    assert [(reason.dn.partition(",")[0], reason.direction) for reason in copy.reasons] == [
        ("uid=bob", "sent"),
        ("uid=ann", "sent"),
    ]


def test_with_of_the_persons_copy_is_about_the_recipients() -> None:
    world = delegation(ldapMilterLegalSentBcc="hold@vault.example.net with=external")

    assert "hold@vault.example.net" in addresses(world.decide(from_mailbox(ANN, to=[JOE])))
    assert "hold@vault.example.net" not in addresses(world.decide(from_mailbox(ANN, to=["carol@example.com"])))


def test_a_person_of_whom_an_invalid_legal_value_is_kept_waits() -> None:
    assert delegation(ldapMilterLegalSentBcc="broken").decide(from_mailbox(ANN)).verdict == "tempfail"


def test_a_person_in_a_message_whose_mailbox_nobody_has() -> None:
    decision = delegation().decide(from_mailbox(ANN, mailbox="nobody@example.com"))

    assert addresses(decision) == ["ann@vault.example.net"]


@pytest.mark.parametrize("odd", ["", "   ", "ann\x00@example.com", "ann?@example.com", "?", "x" * 5000, "@", "ann@"])
def test_a_header_that_names_nobody(odd: str) -> None:
    decision = delegation().decide(from_mailbox(ANN, odd))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["bob@vault.example.net"]
    assert warnings_about(decision, HEADER, "ignored")


def test_blanks_and_line_ends_around_the_name() -> None:
    assert len(delegation().decide(from_mailbox(f"\r\n\t {ANN} \r\n")).copies) == 2


def twins() -> list[Record]:
    """Return two accounts that answer to one address, as entries made by hand may."""
    return [builders.account(f"twin{number}@example.com", zimbraMailAlias="shared@example.com")[0] for number in (1, 2)]


def test_a_person_who_may_be_either_of_two_is_as_unavailable() -> None:
    decision = delegation(*twins()).decide(from_mailbox("shared@example.com"))

    assert (decision.verdict, decision.unavailable) == ("tempfail", True)


def test_what_is_known_is_applied_when_the_person_may_be_either_of_two() -> None:
    options = {"policy": {"directory_failure": "accept"}}

    decision = delegation(*twins(), options=options).decide(from_mailbox("shared@example.com"))

    assert decision.incomplete
    assert addresses(decision) == ["bob@vault.example.net"]


@pytest.mark.parametrize("directory_failure", ["tempfail", "accept"])
def test_a_person_who_cannot_be_asked_for(directory_failure: str) -> None:
    world = delegation(options={"policy": {"directory_failure": directory_failure}})
    world.decide(from_mailbox())
    world.goes_down()

    decision = world.decide(from_mailbox(ANN))

    if directory_failure == "tempfail":
        assert (decision.verdict, decision.unavailable) == ("tempfail", True)
    else:
        assert decision.incomplete
        assert addresses(decision) == ["bob@vault.example.net"]


def test_a_person_who_cannot_be_asked_for_is_not_called_unknown() -> None:
    world = delegation(options={"policy": {"directory_failure": "accept"}})
    world.decide(from_mailbox())
    world.goes_down()

    assert warnings_about(world.decide(from_mailbox(ANN)), "names no account") == []


def test_the_switch_of_the_directory_acts_within_its_time_to_live() -> None:
    world = delegation()
    assert len(world.decide(from_mailbox(ANN)).copies) == 2
    world.replace(example_records({BOB: {ARCHIVE: "bob@vault.example.net"}, ANN: {ARCHIVE: "ann@vault.example.net"}}))
    world.clock.now += world.config.cache.ttl + 1

    assert addresses(world.decide(from_mailbox(ANN))) == ["bob@vault.example.net"]


# -- decided before -------------------------------------------------------------------------


def decide_on_port(world: World, port: int | None, client: str = OUTSIDER, login: str | None = ANN) -> Decision:
    envelope = Envelope(login=login, client=client, sender=ANN, recipients=(JOE,), daemon_port=port)
    return decide(envelope, world.directory.for_message(), world.config.policy, today=TODAY)


@for_rows_of("decided-before")
def test_decided_before(row: Row) -> None:
    name, _, value = row.value("setting").partition("=")
    options = {"identity": {name.strip(): value.strip()}} if name else {}
    world = example({ANN: {"ldapMilterLegalBcc": "vault@example.net"}}, options=options)
    port = int(row.value("port")) if row.value("port") else None

    decision = decide_on_port(world, port, row.value("client"))

    assert bool(decision.copies) == row.is_yes("copy")
    assert bool(decision.decided_before) == (not row.is_yes("copy"))
    assert decision.verdict == "accept"
    if decision.decided_before:
        assert (decision.searches, decision.from_change, decision.headers_needed) == (0, None, frozenset())


@pytest.mark.parametrize("login", [ANN, "nobody@example.com", None])
def test_what_was_decided_before_goes_on_whatever_the_directory_does(login: str | None) -> None:
    world = example(options={"identity": {"own_relays": "127.0.0.0/8 ::1"}})
    world.goes_down()

    assert decide_on_port(world, 10025, login=login).verdict == "accept"
    for relay in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert decide_on_port(world, 25, relay, login).verdict == "accept"
    assert decide_on_port(world, 25, login=ANN).verdict == "tempfail"


def test_loopback_alone_is_no_reason() -> None:
    # A single-server Zimbra sends its web mail from there.
    world = example({ANN: {"ldapMilterLegalBcc": "vault@example.net"}})

    assert addresses(decide_on_port(world, 25, "127.0.0.1")) == ["vault@example.net"]


# -- mailbox servers ------------------------------------------------------------------------


class Servers:
    """A directory over such a store, with a name service of its own."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.clock = Clock()
        self.store = FakeStore(records)
        self.names: dict[str, set[str]] = {}
        self.resolved: list[tuple[str, ...]] = []
        self.config = read_config({})
        self.directory = directory_over(
            self.store,
            self.config,
            self.clock,
            at_once,
            host_addresses=self._host_addresses,
            jitter=lambda: 0.5,
        ).directory

    def _host_addresses(self, names: Sequence[str]) -> frozenset[str]:
        self.resolved.append(tuple(names))
        return frozenset().union(*(self.names.get(name, set()) for name in names))

    def source(self, client: str | None, policy: IdentityPolicy | None = None, **envelope: Any) -> str:
        """Return how an envelope from a client is known."""
        given = Envelope(**{"client": client, "sender": ANN, "recipients": (JOE,), **envelope})
        return identify(given, self.directory.for_message(), policy or IdentityPolicy()).identity.source


def identify(envelope: Envelope, directory: Directory, policy: IdentityPolicy) -> Sender:
    """Return who sends a message, without a memory."""
    claim = claim_of(envelope, directory, policy)
    if claim is None:
        return UNKNOWN
    if claim.source == "sasl":
        return by_login(claim.text, directory)
    return by_mailbox(envelope_address(claim.text), directory, policy)


def with_servers(*servers: tuple[str, Sequence[str]]) -> list[Record]:
    others = [one for one in example_records() if "cn=servers,cn=zimbra" not in one.dn or one.filler]
    return [*others, *(one for name, services in servers for one in builders.server(name, services))]


def test_auto_are_the_servers_that_run_mailbox() -> None:
    servers = Servers(with_servers(("mbox.example.com", ["mailbox", "ldap"]), ("mx.example.com", ["mta", "proxy"])))
    servers.names = {
        "mbox.example.com": {"192.0.2.1", "2001:db8::1"},
        "mx.example.com": {"192.0.2.2"},
    }

    found = {client: servers.source(client) for client in ("192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.11")}

    assert [client for client, source in found.items() if source == "mailbox-host"] == ["192.0.2.1", "2001:db8::1"]
    assert servers.resolved == [("mbox.example.com",)]


def test_auto_follows_the_directory_within_the_time_to_live() -> None:
    servers = Servers(with_servers(("old.example.com", ["mailbox"])))
    servers.names = {"old.example.com": {"192.0.2.1"}, "new.example.com": {"192.0.2.2"}}
    assert (servers.source("192.0.2.1"), servers.source("192.0.2.2")) == ("mailbox-host", "none")

    servers.store.fill(with_servers(("old.example.com", ["mta"]), ("new.example.com", ["mailbox"])))
    assert (servers.source("192.0.2.1"), servers.source("192.0.2.2")) == ("mailbox-host", "none")
    servers.clock.now += servers.config.cache.ttl + 1

    assert (servers.source("192.0.2.1"), servers.source("192.0.2.2")) == ("none", "mailbox-host")


def test_auto_follows_the_name_service_within_the_time_to_live() -> None:
    servers = Servers(with_servers(("mbox.example.com", ["mailbox"])))
    servers.names = {"mbox.example.com": {"192.0.2.1"}}
    for _ in range(5):
        assert servers.source("192.0.2.1") == "mailbox-host"
    assert len(servers.resolved) == 1
    servers.names = {"mbox.example.com": {"192.0.2.9"}}
    servers.clock.now += servers.config.cache.ttl + 1

    assert (servers.source("192.0.2.1"), servers.source("192.0.2.9")) == ("none", "mailbox-host")


def test_names_that_do_not_resolve_are_nobody_and_asked_for_again() -> None:
    servers = Servers(with_servers(("mbox.example.com", ["mailbox"])))
    assert servers.source("192.0.2.1") == "none"
    servers.names = {"mbox.example.com": {"192.0.2.1"}}
    servers.clock.now += servers.config.cache.negative_ttl + 1

    assert servers.source("192.0.2.1") == "mailbox-host"


def test_without_mailbox_servers_nothing_is_resolved() -> None:
    servers = Servers(with_servers(("mx.example.com", ["mta"])))

    assert servers.source("192.0.2.1") == "none"
    assert servers.resolved == []


def test_blocks_instead_of_auto() -> None:
    servers = Servers(with_servers(("mbox.example.com", ["mailbox"])))
    servers.names = {"mbox.example.com": {"203.0.113.1"}}
    policy = IdentityPolicy(mailbox_hosts=("192.0.2.0/28", "2001:db8::/64"))

    found = [
        client
        for client in ("192.0.2.15", "192.0.2.16", "2001:db8::25", "2001:db8:1::25", "::ffff:192.0.2.3", "203.0.113.1")
        if servers.source(client, policy) == "mailbox-host"
    ]

    assert found == ["192.0.2.15", "2001:db8::25", "::ffff:192.0.2.3"]
    assert servers.resolved == []
    assert servers.source("192.0.2.1", IdentityPolicy(mailbox_hosts=())) == "none"


@pytest.mark.parametrize(
    ("client", "envelope", "source"),
    [
        ("192.0.2.1", {}, "mailbox-host"),
        ("192.0.2.1", {"sender": ""}, "none"),
        ("192.0.2.1", {"sender": "nobody@example.com"}, "mailbox-host"),
        ("192.0.2.1", {"sender": "ann@example.org"}, "mailbox-host"),
        ("192.0.2.1", {"sender": "joe@client.example.net"}, "none"),
        ("192.0.2.1", {"sender": "not an address"}, "none"),
        ("192.0.2.1", {"submitted_locally": True}, "none"),
        ("192.0.2.1", {"submitted_locally": True, "sender": ""}, "none"),
        (None, {}, "none"),
        ("", {}, "none"),
        ("unix", {}, "none"),
        ("192.0.2.1", {"login": ANN, "sender": ""}, "sasl"),
        (None, {"login": ANN}, "sasl"),
    ],
)
def test_how_a_message_is_known(client: str | None, envelope: dict[str, Any], source: str) -> None:
    servers = Servers(with_servers(("mbox.example.com", ["mailbox"])))
    servers.names = {"mbox.example.com": {"192.0.2.1"}}
    networks = IdentityPolicy(mailbox_hosts=("192.0.2.0/24",))

    assert servers.source(client, **envelope) == source
    assert servers.source(client, networks, **envelope) == source


# -- logins that nobody has -----------------------------------------------------------------

LEGAL: Final = "ldapMilterLegalBcc"


@pytest.mark.parametrize(
    "login",
    ["an?n@example.com", "?", "ann?", "ann\x01@example.com", "ann\x7f", "\x00", "ann\r\n", "ann\t@example.com"],
)
def test_a_login_with_what_postfix_or_a_wire_cannot_hold_is_nobodys(login: str) -> None:
    odd = builders.account("an?n@example.com", **{LEGAL: "odd@vault.example.net"})
    world = example({}, *odd)

    decision = world.decide(Message(login=login, sender=ANN))

    assert (decision.verdict, decision.identity.source, decision.identity.dn) == ("tempfail", "sasl", None)
    assert not decision.unavailable


@pytest.mark.parametrize(
    ("login", "copies"),
    [
        ("nobody@example.com", ["domain", "global"]),
        ("nobody", ["domain", "global"]),
        ("nobody@example.org", ["domain", "global"]),
        ("nobody@client.example.net", ["global"]),
        ("anything@catchall.example", ["global"]),
        ("an?n@example.com", ["domain", "global"]),
        ("\u00e4nn@example.com", ["domain", "global"]),
        ("ann\x01@example.com", ["domain", "global"]),
        ("no body", ["global"]),
        ("@", ["global"]),
    ],
)
def test_an_unknown_login_that_is_accepted_has_domain_and_global(login: str, copies: list[str]) -> None:
    values = {"example.com": {LEGAL: "domain@vault.example.net"}, GLOBAL: {LEGAL: "global@vault.example.net"}}
    world = example(values, options={"identity": {"unknown_login": "accept"}})

    decision = world.decide(Message(login=login, sender=JOE))

    assert (decision.verdict, decision.identity.source) == ("accept", "sasl")
    found = [name.partition("@")[0] for name in addresses(decision)]
    # Where a bare name is completed with the default domain, that domain's level is welcome too.
    assert found == copies or (copies == ["global"] and "@" not in login and found == ["domain", "global"])


def test_an_unknown_login_is_asked_for_again_past_the_negative_cache_at_another_server() -> None:
    fresh = builders.account("fresh@example.com")
    servers = Servers(with_servers())

    def known() -> bool:
        author = identify(Envelope(login="fresh@example.com"), servers.directory.for_message(), IdentityPolicy())
        assert author.unknown_login == (author.entry is None)
        return author.entry is not None

    assert not known()
    before = len(servers.store.next_server_first)
    assert not known()
    # What is known to be absent is not believed, and a replica that lags is not asked twice.
    assert servers.store.next_server_first[before:] == [True]
    servers.store.fill([*with_servers(), *fresh])
    assert known()
    before = len(servers.store.next_server_first)
    assert known()
    assert len(servers.store.next_server_first) == before


@pytest.mark.parametrize("wrong", ["team@example.com", "crew@example.com", "anything@catchall.example", "vault@", "@"])
def test_only_an_account_logs_in(wrong: str) -> None:
    servers = Servers(with_servers())

    author = identify(Envelope(login=wrong), servers.directory.for_message(), IdentityPolicy())

    assert (author.unknown_login, author.entry, author.identity.source) == (True, None, "sasl")


def test_a_login_outside_costs_no_search_and_is_nobodys() -> None:
    servers = Servers(with_servers())
    identify(Envelope(login=ANN), servers.directory.for_message(), IdentityPolicy())
    view = servers.directory.for_message()

    assert identify(Envelope(login=JOE), view, IdentityPolicy()).unknown_login
    assert view.searches == 0


# -- logins of devices and relays -----------------------------------------------------------

SERVICES: Final = {"identity": {"service_logins": "scanner relay@mail2.client.test=ann@example.com"}}
EVERYBODYS: Final[dict[str, dict[str, Any]]] = {
    ANN: {ARCHIVE: "ann@vault.example.net", "ldapMilterSenderFromRewrite": "* => legal@example.com"},
    BOB: {"ldapMilterArchiveReceivedBcc": "bob@vault.example.net"},
    GLOBAL: {ARCHIVE: "global@vault.example.net"},
}


@pytest.mark.parametrize("login", ["scanner", "SCANNER", " scanner "])
def test_a_service_that_is_nobody_gets_the_policy_of_its_recipients(login: str) -> None:
    decision = example(EVERYBODYS, options=SERVICES).decide(Message(login=login, sender=ANN, to=[BOB], headers=[]))

    assert (decision.verdict, decision.identity.source, decision.from_change) == ("accept", "none", None)
    assert addresses(decision) == ["bob@vault.example.net"]
    assert decision.headers_needed == frozenset()


@pytest.mark.parametrize("login", ["relay@mail2.client.test", "Relay@MAIL2.client.test"])
def test_a_service_that_stands_for_an_account_is_that_account(login: str) -> None:
    world = example(EVERYBODYS, options=SERVICES)

    decision = world.decide(Message(login=login, sender=JOE, to=[BOB], headers=[]))

    assert (decision.identity.source, str(decision.identity.address)) == ("sasl", ANN)
    assert sorted(addresses(decision)) == ["ann@vault.example.net", "bob@vault.example.net"]
    assert decision.from_change is not None
    assert world.decide(Message(login=ANN, to=[BOB], headers=[])).copies == decision.copies


def test_a_service_counts_before_an_account_of_that_name() -> None:
    decision = example(EVERYBODYS, options={"identity": {"service_logins": ANN}}).decide(Message(to=[JOE]))

    assert (decision.identity.source, addresses(decision)) == ("none", [])


@pytest.mark.parametrize("login", ["scanner2", "scanner@example.com", "relay"])
def test_another_login_is_as_unknown_as_before(login: str) -> None:
    decision = example(EVERYBODYS, options=SERVICES).decide(Message(login=login))

    assert decision.verdict == "tempfail"
    assert warnings_about(decision, repr(login), "resolves to no account")


def test_a_service_that_stands_for_nobody_waits_and_says_for_whom() -> None:
    options = {"identity": {"service_logins": "scanner=nobody@example.com"}}

    decision = example(EVERYBODYS, options=options).decide(Message(login="scanner"))

    assert decision.verdict == "tempfail"
    assert warnings_about(decision, "'scanner'", "nobody@example.com", "no account")


def test_a_service_costs_no_more_than_an_account_or_nobody() -> None:
    def searches(message: Message) -> int:
        return example(EVERYBODYS, options=SERVICES).decide(message).searches

    relay = Message(login="relay@mail2.client.test", sender=JOE, to=[BOB])
    assert searches(relay) <= searches(Message(login=ANN, sender=JOE, to=[BOB]))
    scanner = Message(login="scanner", sender=ANN, to=[BOB])
    assert searches(scanner) <= searches(Message(login=None, sender=ANN, to=[BOB]))
