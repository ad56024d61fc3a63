"""A change of the directory acts within seconds, without a flush, and costs nobody else anything."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.daemon.control_client import ask
from ldapmilter.errors import DaemonUnreachable
from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, company
from tests.support.daemon import Daemon
from tests.support.names import account_dn
from tests.support.ports import HANG, wait_until
from tests.support.slapd import Slapd
from tests.support.slapd_config import ROOT_DN, ROOT_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLLOWS: Final = {"ldap": {"follow_changes": "auto"}, "cache": {"ttl": "3600", "negative_ttl": "3600"}}
ELSEWHERE: Final = "elsewhere@keep.test"
SALES: Final = "cn=sales,cn=cos,cn=zimbra"
MAIL: Final = "olcDatabase={2}mdb,cn=config"
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


def replicates(provider: Slapd) -> str:
    """Return what makes a server a replica (slapd.conf(5), syncrepl)."""
    return (
        f"dn: {MAIL}\nchangetype: modify\nadd: olcSyncrepl\n"
        f"olcSyncrepl: rid=001 provider={provider.uri} bindmethod=simple binddn={ROOT_DN} credentials={ROOT_PASSWORD}"
        ' searchbase="" type=refreshAndPersist retry="1 +" schemachecking=off\n'
    )


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd(company()) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(slapd: Slapd) -> Iterator[Daemon]:
    with Daemon(slapd, FOLLOWS) as running:
        follows(running)
        yield running


def asked(daemon: Daemon, request: dict[str, Any]) -> dict[str, Any]:
    """Return the daemon's answer; its control socket comes a moment after the milter's, and a busy machine is slow."""
    answers: list[dict[str, Any]] = []

    def answered() -> bool:
        with contextlib.suppress(DaemonUnreachable):
            answers.append(ask(str(daemon.directory / "control.sock"), request, HANG))
        return bool(answers)

    wait_until(answered, "the daemon answers")
    return answers[0]


def following(daemon: Daemon) -> dict[str, Any]:
    told: dict[str, Any] = asked(daemon, {"verb": "status"})["following"]
    return told


def follows(daemon: Daemon) -> None:
    wait_until(lambda: following(daemon)["why_not"] is None, "changes are followed")


def copies(daemon: Daemon, login: str | None, to: str = "joe@outside.test") -> set[str]:
    request = {"verb": "explain", "login": login, "client": "198.51.100.9", "sender": login or "", "recipients": [to]}
    return {copy["address"] for copy in asked(daemon, request)["decision"]["copies"]}


def replace(slapd: Slapd, dn: str, attribute: str, *values: str) -> None:
    lines = "".join(f"{attribute}: {value}\n" for value in values)
    slapd.modify(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{lines}")


def looked_up(slapd: Slapd) -> int:
    """Return how often the directory was asked for what mail is decided by."""
    return sum("entrycsn" not in one.filter.lower() and "entryuuid" not in one.filter.lower()
               for one in slapd.search_log(slapd.bind_dn))  # fmt: skip


def test_a_change_acts_and_costs_nobody_else_anything(slapd: Slapd, daemon: Daemon) -> None:
    assert copies(daemon, "ann@example.test") == {ARCHIVE, HOLD}
    assert copies(daemon, None, "carl@example.test") == {CARL_ARCHIVE, CARL_HOLD}
    assert copies(daemon, "bob@example.test") == set()

    replace(slapd, SALES, "ldapMilterArchiveSentBcc", ELSEWHERE)
    wait_until(lambda: copies(daemon, "ann@example.test") == {ELSEWHERE, HOLD}, "a value on a COS")
    replace(slapd, account_dn("ann@example.test"), "ldapMilterLegalBcc")
    wait_until(lambda: copies(daemon, "ann@example.test") == {ELSEWHERE}, "a value that is gone")

    before, changes = looked_up(slapd), following(daemon)["changes"]
    replace(slapd, account_dn("bob@example.test"), "description", "has logged in")
    wait_until(lambda: following(daemon)["changes"] > changes, "the change is seen")
    assert copies(daemon, "bob@example.test") == set()
    assert copies(daemon, None, "carl@example.test") == {CARL_ARCHIVE, CARL_HOLD}
    assert copies(daemon, "ann@example.test") == {ELSEWHERE}
    assert looked_up(slapd) == before


def test_an_account_of_another_name_is_known_by_both(slapd: Slapd, daemon: Daemon) -> None:
    dn, carl, carla = account_dn("carl@example.test"), "carl@example.test", "carla@example.test"
    assert copies(daemon, None, carl) == {CARL_ARCHIVE, CARL_HOLD}
    assert copies(daemon, None, carla) == set()
    replace(slapd, dn, "zimbraMailDeliveryAddress", carla)
    slapd.modify(f"dn: {dn}\nchangetype: modrdn\nnewrdn: uid=carla\ndeleteoldrdn: 1\n")
    wait_until(lambda: copies(daemon, None, carla) == {CARL_ARCHIVE, CARL_HOLD}, "the new name")
    wait_until(lambda: copies(daemon, None, carl) == set(), "the old name")


def test_what_is_made_and_the_global_config(slapd: Slapd, daemon: Daemon) -> None:
    assert copies(daemon, "jane@example.test") == set()
    slapd.modify("dn: cn=config,cn=zimbra\nchangetype: modify\nadd: objectClass\nobjectClass: ldapMilterPolicy\n")
    replace(slapd, "cn=config,cn=zimbra", "ldapMilterArchiveBcc", "all@keep.test")
    wait_until(lambda: copies(daemon, "jane@example.test") == {"all@keep.test"}, "a value on the global config")
    replace(slapd, "cn=config,cn=zimbra", "ldapMilterArchiveBcc")
    wait_until(lambda: copies(daemon, "jane@example.test") == set(), "no value")


def test_who_may_not_read_change_numbers_is_told_so() -> None:
    with Slapd(company()) as slapd:
        rule = next(
            line for line in slapd.search(ROOT_DN, ROOT_PASSWORD, "-b", MAIL, "-s", "base", "olcAccess")[1].splitlines()
            if "entryCSN" in line
        ).partition(": ")[2]  # fmt: skip
        less = rule.replace(",entryCSN", "").replace(",entryUUID", "")
        change = f"delete: olcAccess\nolcAccess: {rule}\n-\nadd: olcAccess\nolcAccess: {less}\n"
        slapd.modify(f"dn: {MAIL}\nchangetype: modify\n{change}")
        with Daemon(slapd, FOLLOWS) as daemon:
            said = daemon.said("changes of the directory are not followed")
            assert len(said) == 1
            assert "entryCSN and entryUUID may not be read" in said[0]
            assert following(daemon)["why_not"] in said[0]
            assert "not followed" in daemon.cli("status").stdout
            assert copies(daemon, "ann@example.test") == {ARCHIVE, HOLD}


def test_provider_and_replica() -> None:
    with Slapd(company()) as provider, Slapd([]) as replica:
        provider.modify(PROVIDES)
        replica.modify(replicates(provider))
        wait_until(lambda: "uid=carl" in replica.slapcat(), "the replica has everything")
        sections = {**FOLLOWS, "ldap": {**FOLLOWS["ldap"], "uri": f"{replica.uri} {provider.uri}"}}
        with Daemon(provider, sections) as daemon:
            follows(daemon)
            wait_until(lambda: following(daemon)["server"] == replica.uri, "the first server is followed")
            assert copies(daemon, "ann@example.test") == {ARCHIVE, HOLD}
            replace(provider, SALES, "ldapMilterArchiveSentBcc", ELSEWHERE)
            wait_until(lambda: copies(daemon, "ann@example.test") == {ELSEWHERE, HOLD}, "by the replica")

            replica.kill()
            wait_until(lambda: following(daemon)["server"] == provider.uri, "the other server is followed")
            replace(provider, SALES, "ldapMilterArchiveSentBcc", ARCHIVE)
            wait_until(lambda: copies(daemon, "ann@example.test") == {ARCHIVE, HOLD}, "by the provider")

            replica.start()
            wait_until(lambda: following(daemon)["server"] == replica.uri, "the first server is followed again")
            replace(provider, SALES, "ldapMilterArchiveSentBcc", ELSEWHERE)
            wait_until(lambda: copies(daemon, "ann@example.test") == {ELSEWHERE, HOLD}, "by the replica again")

            replica.kill()
            provider.kill()
            wait_until(lambda: following(daemon)["why_not"] is not None, "nothing is followed")
            assert copies(daemon, "ann@example.test") == {ELSEWHERE, HOLD}
