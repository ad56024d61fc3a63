"""Three outages at night, as log, `status`, `check` and metrics have them: what happened, and what to do.

One daemon goes through all of them: slapd is stopped, its certificate expires, the identity's right is
taken away.
"""

from __future__ import annotations

import re
import urllib.request
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import company
from tests.support.certificates import expire
from tests.support.daemon import Daemon
from tests.support.ports import LOOPBACK, free_port, wait_until
from tests.support.slapd import Slapd
from tests.support.slapd_config import access_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIMIT: Final = 120.0
_LONGEST: Final = 500
"""Octets of a line."""
_MAIL: Final = "olcDatabase={2}mdb,cn=config"


class Night:
    """The daemon, its directory, and whoever looks at them."""

    def __init__(self, slapd: Slapd, daemon: Daemon, listen: str) -> None:
        self.slapd = slapd
        self.daemon = daemon
        self._listen = listen

    def gauge(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self._listen}/metrics", timeout=60) as response:
            page = response.read().decode()
        (value,) = re.findall(rf"^{name}{{[^}}]*}} (\S+)$", page, re.MULTILINE)
        return float(value)

    def verdict(self, recipient: str) -> Verdict:
        """Return what becomes of mail from outside."""
        with MilterClient.connect(parse_socket(self.daemon.socket), _LIMIT) as client:
            sender = f"to-{recipient.partition('@')[0]}@outside.test"
            return client.run(Transaction(sender=sender, recipients=[recipient])).verdict

    def problems(self) -> str:
        """Return the lines PROBLEM of `status`."""
        return "\n".join(line for line in self.daemon.cli("status").stdout.splitlines() if line.startswith("PROBLEM"))

    def findings(self) -> str:
        """Return the lines of `check` that begin a problem, with their remedies."""
        return self.daemon.cli("check", timeout=120).stdout

    def is_well(self) -> bool:
        return self.daemon.cli("status").returncode == 0

    def lasts(self, words: str) -> None:
        """Wait until log and `status` have the words."""
        wait_until(lambda: words in self.problems(), f"{words} in status", _LIMIT)
        wait_until(lambda: bool(self.daemon.log_lines(words)), f"{words} in the log", _LIMIT)


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    listen = f"{LOOPBACK}:{free_port()}"
    options = {"milter": {"workers": "2"}, "metrics": {"listen": listen}, "ldap": {"lookup_deadline": "4"}}
    with Slapd(company(), tls=True) as slapd, Daemon(slapd, options) as daemon:
        yield from spent(Night(slapd, daemon, listen))


def spent(night: Night) -> Iterator[Night]:
    """Look at the whole log when the night is over."""
    wait_until(night.is_well, "the first answers", _LIMIT)
    yield night
    lines = night.daemon.log().splitlines()
    assert [line for line in lines if len(line.encode()) > _LONGEST] == []
    assert [line for line, following in pairwise(lines) if line == following] == []
    assert [line for line in lines if "Error:" in line or "Traceback" in line or "_ssl.c" in line] == []


@pytest.fixture
def mended(night: Night) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Take what mends an outage; it is done at the end, and all is well then, and said to be."""
    mend: list[Callable[[], None]] = []
    ends = len(night.daemon.log_lines(" again"))
    yield mend.append
    for work in mend:
        work()
    wait_until(night.is_well, "the end of the outage", _LIMIT)
    wait_until(lambda: len(night.daemon.log_lines(" again")) == ends + 1, "word of it", _LIMIT)
    assert night.gauge("ldapmilter_directory_up") == 1
    assert night.gauge("ldapmilter_directory_policy_readable") == 1


def test_slapd_is_stopped(night: Night, mended: Callable[[Callable[[], None]], None]) -> None:
    mended(night.slapd.start)
    night.slapd.stop()
    words = f"{night.slapd.uri}: Connection refused (nothing listens there: does slapd run, is the port right?)"
    night.lasts("Connection refused (nothing listens there")
    assert night.daemon.said("no server answers since", night.slapd.uri)
    assert night.gauge("ldapmilter_directory_up") == 0
    assert "[ldap-unreachable]" in (told := night.findings())
    assert words in told


def test_the_certificate_expires(night: Night, mended: Callable[[Callable[[], None]], None]) -> None:
    certificate = night.slapd.directory / "server.pem"
    valid = certificate.read_bytes()

    def renew() -> None:
        night.slapd.stop()
        certificate.write_bytes(valid)
        night.slapd.start()

    mended(renew)
    night.slapd.stop()
    moment = expire(night.slapd.directory)
    night.slapd.start()
    words = f"the server's certificate expired on {moment}: renew it on that server (Zimbra: zmcertmgr)"
    night.lasts(words)
    assert night.gauge("ldapmilter_directory_up") == 0
    assert "[ldap-tls-failed]" in (told := night.findings())
    assert words in told


def test_the_right_of_the_identity_is_taken_away(night: Night, mended: Callable[[Callable[[], None]], None]) -> None:
    slapd = night.slapd
    opening = access_rules(with_schema=True, milter_acl=True)[0]
    change = f"dn: {_MAIL}\nchangetype: modify\n"
    mended(lambda: slapd.modify(f"{change}add: olcAccess\nolcAccess: {{0}}{opening}\n"))
    assert night.verdict("carl@example.test") is Verdict.ACCEPT
    slapd.modify(f"{change}delete: olcAccess\nolcAccess: {{0}}\n")
    # At once, not when it is noticed: whom the directory does not show any more is not taken for nobody.
    for stranger in ("kim@example.test", "staff@example.test", "nobody@example.test"):
        assert night.verdict(stranger) is Verdict.TEMPFAIL
    night.lasts("cannot be seen")
    (line,) = night.daemon.log_lines("the policy cannot be read:")
    for words in (slapd.bind_dn, f"install-schema --uri {slapd.uri} mends that"):
        assert words in line
        assert words in night.problems()
    assert night.gauge("ldapmilter_directory_up") == 1
    assert night.gauge("ldapmilter_directory_policy_readable") == 0
    assert "[ldap-unreadable]" in (told := night.findings())
    assert f"the access rule for {slapd.bind_dn} is missing on this server" in told
