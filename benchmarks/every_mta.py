"""How soon a change acts on every MTA, and what it costs: a provider, a replica, three daemons, mail all the while.

    python -m benchmarks.every_mta [--changes 200] [--accounts N] [--storm SECONDS]

Changes of every kind are made on the provider, one after the other; each daemon is asked until the change acts there.
The daemons serve mail of others meanwhile, and what is looked up for those is counted by the servers. With ``--storm``
5,000 accounts log in every minute, for so many seconds, and the processor time of follower and slapd is named.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.daemon.control_client import ask
from ldapmilter.directory.ldap.command_connection import connect
from ldapmilter.directory.ldap.endpoints import Endpoints
from ldapmilter.directory.ldap.exchange import Credentials
from ldapmilter.message import Envelope
from ldapmilter.mta.probe import probe
from ldapmilter.socket_address import parse_socket
from tests.support import builders
from tests.support.daemon import Daemon
from tests.support.names import account_dn, domain_dn, group_dn, zimbra_id
from tests.support.ports import wait_until
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.slapd_config import ROOT_DN, ROOT_PASSWORD
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Self

    from ldapmilter.directory.ldap.connection import Connection
    from tests.support.record import Record

ANN: Final = "ann@example.test"
OUTSIDE: Final = "joe@outside.test"
MAIL: Final = "olcDatabase={2}mdb,cn=config"
OTHERS: Final = 40
"""People whose mail goes on, and of whom nothing changes."""
PATIENCE: Final = 30.0
PROVIDES: Final = f"""\
dn: cn=module{{0}},cn=config
changetype: modify
add: olcModuleLoad
olcModuleLoad: syncprov

dn: olcOverlay=syncprov,{MAIL}
changetype: add
objectClass: olcOverlayConfig
objectClass: olcSyncProvConfig
olcOverlay: syncprov
"""


def records(accounts: int) -> list[Record]:
    """Return the directory."""
    people = [f"user-{number}@example.test" for number in range(max(accounts, 400))]
    return merge(
        [
            *base_records(),
            *builders.global_config(zimbraDefaultDomainName="example.test"),
            *builders.domain("example.test"),
            *builders.cos("sales"),
            *(one for name in people for one in builders.account(name)),
            *builders.account("seller@example.test", cos_id=zimbra_id("cos", "sales")),
            *builders.account(ANN, ldapMilterFromEnforce="reject"),
            *builders.static_list("team@example.test", ["user-1@example.test"]),
            *builders.static_list(
                "policy@example.test", [], ldapMilterAppliesToMembers=True, ldapMilterArchiveBcc="p@keep.test"
            ),
            *builders.dynamic_group("crew@example.test"),
        ]
    )


@dataclass
class Change:
    """One change, and how to see that it acts."""

    kind: str
    make: Callable[[Connection], object]
    login: str
    recipient: str
    acts: Callable[[dict[str, Any]], bool]
    fields: Sequence[tuple[str, str]] = ()


def _copies(decision: dict[str, Any]) -> set[str]:
    return {copy["address"] for copy in decision["copies"]}


def _set(dn: str, attribute: str, *values: str) -> Callable[[Connection], object]:
    return lambda server: server.modify(dn, [("replace", attribute, values)])


def _policy(dn: str, attribute: str, *values: str) -> Callable[[Connection], object]:
    def make(server: Connection) -> object:
        server.modify(dn, [("add", "objectClass", ("ldapMilterPolicy",))])  # 20 where it is there
        return server.modify(dn, [("replace", attribute, values)])

    return make


def _values(dn: str, attribute: str) -> Callable[[str, int], Change]:
    """Return a kind of change: another value on one entry, which a user of the number sees."""

    def change(user: str, number: int) -> Change:
        return Change(attribute, _policy(dn, attribute, _vault(number)), user, OUTSIDE, _copied(number))

    return change


def _vault(number: int) -> str:
    return f"vault-{number}@keep.test"


def _copied(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda decision: _vault(number) in _copies(decision)


def _received(number: int, user: str, kind: str, dn: str, attribute: str, *values: str) -> Change:
    """Return a change by which mail to a group, or to another address, reaches a user, who is copied."""
    copy = _policy(account_dn(user), "ldapMilterArchiveReceivedBcc", _vault(number))
    change = _set(dn, attribute, *values)
    to = {"alias": values[0], "dynamic group": "crew@example.test"}.get(kind, "team@example.test")
    return Change(kind, lambda server: (copy(server), change(server)), "", to, _copied(number))


def _account(user: str, number: int) -> Change:
    return _values(account_dn(user), "ldapMilterArchiveBcc")(user, number)


def _cos(_user: str, number: int) -> Change:
    return _values("cn=sales,cn=cos,cn=zimbra", "ldapMilterArchiveBcc")("seller@example.test", number)


def _list(_user: str, number: int) -> Change:
    value = _policy(account_dn("team@example.test"), "ldapMilterArchiveBcc", _vault(number))
    return Change("list", value, "", "team@example.test", _copied(number))


def _member(user: str, number: int) -> Change:
    dn, member = account_dn("team@example.test"), "zimbraMailForwardingAddress"
    return _received(number, user, "list's member", dn, member, "user-1@example.test", user)


def _dynamic(user: str, number: int) -> Change:
    crew = zimbra_id("group", "crew@example.test")
    return _received(number, user, "dynamic group", account_dn(user), "zimbraMemberOf", crew)


def _alias(user: str, number: int) -> Change:
    return _received(number, user, "alias", account_dn(user), "zimbraMailAlias", f"alias-{number}@example.test")


def _grant(user: str, _number: int) -> Change:
    ace = f"{zimbra_id('account', ANN)} usr sendAs"
    return Change("grant", _set(account_dn(user), "zimbraACE", ace), ANN, OUTSIDE, _accepted, [("from", user)])


def _policy_group(user: str, _number: int) -> Change:
    made = _set(account_dn("policy@example.test"), "zimbraMailForwardingAddress", user)
    return Change("policy group", made, user, OUTSIDE, lambda decision: "p@keep.test" in _copies(decision))


def _fresh(_user: str, number: int) -> Change:
    name = f"fresh-{number}@example.test"
    some = builders.account(name, ldapMilterArchiveBcc=_vault(number))
    return Change("account that is made", lambda server: _add(server, some), "", name, _copied(number))


def _source(_user: str, number: int) -> Change:
    foreign = f"own-{number}@elsewhere.test"
    some = builders.data_source(ANN, foreign, name=f"source-{number}")
    fields = [("from", foreign)]
    return Change("external account", lambda server: _add(server, some), ANN, OUTSIDE, _accepted, fields)


def _accepted(decision: dict[str, Any]) -> bool:
    return bool(decision["verdict"] == "accept")


KINDS: Final[tuple[Callable[[str, int], Change], ...]] = (
    _account,
    _cos,
    _values(domain_dn("example.test"), "ldapMilterLegalBcc"),
    _values("cn=config,cn=zimbra", "ldapMilterLegalSentBcc"),
    _list,
    _member,
    _dynamic,
    _alias,
    _grant,
    _policy_group,
    _fresh,
    _source,
)


def changes(total: int) -> Iterator[Change]:
    """Yield changes of every kind in turn."""
    for number in range(total):
        yield KINDS[number % len(KINDS)](f"user-{number}@example.test", number)


def decision(daemon: Daemon, change: Change) -> dict[str, Any]:
    """Return what a daemon decides now."""
    request = {
        "verb": "explain", "login": change.login or None, "client": "198.51.100.9", "sender": change.login,
        "recipients": [change.recipient], "fields": [list(field) for field in change.fields],
    }  # fmt: skip
    found: dict[str, Any] = ask(str(daemon.directory / "control.sock"), request, PATIENCE)["decision"]
    return found


def root(slapd: Slapd) -> Connection:
    """Return a connection that may change everything."""
    who = Credentials(dn=ROOT_DN, password=ROOT_PASSWORD)
    return connect(slapd.uri, Endpoints(uris=(slapd.uri,), starttls=False), who, writes=True)


def _add(server: Connection, some: Sequence[Record]) -> None:
    for one in some:
        attributes: dict[str, list[str]] = {}
        for name, value in one.attributes:
            attributes.setdefault(name, []).append(value if isinstance(value, str) else value.decode())
        if not one.filler:
            server.add(one.dn, attributes)


class Mail:
    """Mail of others, all the while."""

    def __init__(self, daemons: Sequence[Daemon]) -> None:
        self._daemons = daemons
        self._stop = threading.Event()
        self.sent = self.failed = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            daemon = self._daemons[number % len(self._daemons)]
            who = f"user-{300 + number // len(self._daemons) % OTHERS}@example.test"
            envelope = Envelope(login=who, client="198.51.100.9", sender=who, recipients=("joe@outside.test",))
            try:
                told = probe(parse_socket(daemon.socket), envelope, [(b"From", who.encode())], b"", 10.0)
                self.failed += told["verdict"] != "accept"
            except Exception:  # noqa: BLE001 - counted
                self.failed += 1
            self.sent += 1


def looked_up_others(servers: Sequence[Slapd]) -> int:
    """Return how often others were looked up."""
    names = [f"user-{300 + number}@" for number in range(OTHERS)]
    return sum(
        any(name in one.filter for name in names) for server in servers for one in server.search_log(server.bind_dn)
    )


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def follower_of(daemon: Daemon) -> int:
    """Return the process that follows: the child of the parent that is no worker."""
    status = ask(str(daemon.directory / "control.sock"), {"verb": "status"}, PATIENCE)
    workers = {worker["pid"] for worker in status["workers"]}
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    return next(int(pid) for pid in children if int(pid) not in workers)


def following(daemon: Daemon) -> dict[str, Any]:
    """Return how a daemon follows."""
    found: dict[str, Any] = ask(str(daemon.directory / "control.sock"), {"verb": "status"}, PATIENCE)["following"]
    return found


def storm(provider: Slapd, daemon: Daemon, accounts: int, seconds: float) -> None:
    """Let 5,000 accounts log in every minute, and print what that costs."""
    server, follower, slapd = root(provider), follower_of(daemon), provider._process.pid  # type: ignore[union-attr]  # noqa: SLF001
    before, began = following(daemon), time.monotonic()
    cost = processor_seconds(follower), processor_seconds(slapd)
    logins = 0
    while time.monotonic() - began < seconds:
        name = f"user-{logins % accounts}@example.test"
        server.modify(account_dn(name), [("replace", "description", (f"login {logins}",))])
        logins += 1
        time.sleep(max(0.0, began + logins * 60 / 5000 - time.monotonic()))
    took = time.monotonic() - began
    after = following(daemon)
    print(f"storm: {logins} logins in {took:.0f} s ({60 * logins / took:.0f} a minute), {accounts} accounts")
    seen, outdated = (after[name] - before[name] for name in ("changes", "outdated"))
    print(f"  seen {seen}, everything outdated {outdated} times")
    print(f"  follower {100 * (processor_seconds(follower) - cost[0]) / took:.1f} % of a processor,")
    print(f"  slapd {100 * (processor_seconds(slapd) - cost[1]) / took:.1f} % (its changes included)")
    print(f"  {after['seconds_behind']} s behind; answers asked for anew: {after['answers'] - before['answers']}")


def _has_everything(replica: Slapd) -> bool:
    """Whether one of the last entries is there; slapcat would read all of them each time."""
    return replica.search(ROOT_DN, ROOT_PASSWORD, "-b", group_dn("crew@example.test"), "-s", "base")[0] == 0


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=0)
    parser.add_argument("--storm", type=float, default=0)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(Slapd(records(options.accounts)))
        replica = stack.enter_context(Slapd([]))
        provider.modify(PROVIDES)
        replica.modify(
            f"dn: {MAIL}\nchangetype: modify\nadd: olcSyncrepl\n"
            f"olcSyncrepl: rid=001 provider={provider.uri} bindmethod=simple binddn={ROOT_DN}"
            f' credentials={ROOT_PASSWORD} searchbase="" type=refreshAndPersist retry="1 +" schemachecking=off\n'
        )
        wait_until(lambda: _has_everything(replica), "the replica has everything", 300 + options.accounts / 100, 1)
        both = {"follow_changes": "auto"}
        sections = [
            {"ldap": {**both, "uri": uris}, "cache": {"ttl": "86000", "negative_ttl": "86000"}}
            for uris in (
                f"{provider.uri} {replica.uri}",
                f"{replica.uri} {provider.uri}",
                f"{replica.uri} {provider.uri}",
            )
        ]
        daemons = [stack.enter_context(Daemon(provider, one)) for one in sections]
        for daemon in daemons:
            wait_until(lambda daemon=daemon: following(daemon)["why_not"] is None, "changes are followed")  # type: ignore[misc]
        if options.storm:
            storm(provider, daemons[0], max(options.accounts, 400), options.storm)
        if options.changes:
            with Mail(daemons) as mail:
                time.sleep(4 * OTHERS * len(daemons) * 0.02)
                _measure(provider, replica, daemons, options.changes)
            print(f"mail: {mail.sent} messages, {mail.failed} failed or deferred")


def _measure(provider: Slapd, replica: Slapd, daemons: Sequence[Daemon], total: int) -> None:
    server, took, missed = root(provider), [], []
    kinds: dict[str, list[float]] = {}
    before = looked_up_others((provider, replica))
    outdated = [following(daemon)["outdated"] for daemon in daemons]
    for change in changes(total):
        for daemon in daemons:
            if change.acts(decision(daemon, change)):
                print("acts before it is made:", change.kind)
        change.make(server)
        made, waiting = time.monotonic(), list(daemons)
        while waiting and time.monotonic() - made < PATIENCE:
            for daemon in list(waiting):
                if change.acts(decision(daemon, change)):
                    waiting.remove(daemon)
                    took.append(time.monotonic() - made)
                    kinds.setdefault(change.kind, []).append(took[-1])
            time.sleep(0.02)
        missed += [change.kind] * len(waiting)
    took.sort()
    print(f"{total} changes, {len(took)} seen by daemons, {len(missed)} missed {missed[:5]}")
    if took:
        at = lambda share: took[min(len(took) - 1, int(share * len(took)))]  # noqa: E731
        print(f"  acts after: median {at(0.5):.2f} s, 99th percentile {at(0.99):.2f} s, longest {took[-1]:.2f} s")
    for kind, some in sorted(kinds.items()):
        print(f"  {kind}: {len(some)}, longest {max(some):.2f} s")
    print(f"  look-ups of {OTHERS} others meanwhile: {looked_up_others((provider, replica)) - before}")
    more = [following(one)["outdated"] - was for one, was in zip(daemons, outdated, strict=True)]
    print(f"  everything outdated: {more}")


if __name__ == "__main__":
    main()
