"""docs/copies.md, "Setting it up", as an administrator follows it: what stands in its blocks is configured and run."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.archive_server import ArchiveServer
from tests.support.builders import account, domain, global_config
from tests.support.daemon import Daemon
from tests.support.guide import run_line, sections
from tests.support.ports import LOOPBACK, free_port, wait_until
from tests.support.postfix import Postfix
from tests.support.record import merge, to_ldif
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
ANN: Final = "ann@example.com"
# The archive of the test is on this host, its directory lies in a file, and any user may connect.
OF_THE_TEST: Final = {"relay-next-hop-own", "config-embedded-directory", "config-socket-open"}


class Office:
    """A site whose mail is archived directly, and its administrator."""

    def __init__(self, directory: Path, archive: ArchiveServer) -> None:
        self.archive = archive
        self.listen = f"inet:{LOOPBACK}:{free_port()}"
        people = account(ANN, ldapMilterArchiveSentBcc="vault@archive.example.com")
        site = merge([*base_records(), *global_config(), *domain("example.com"), *people])
        (directory / "site.ldif").write_text(to_ldif(site), encoding="utf-8")
        self.daemon = Daemon(sections={"ldap": {"uri": f"ldif:{directory}/site.ldif"}})
        self.postfix = Postfix(milters=self.daemon.socket, users={ANN: "a-password"})
        places = {name: f"{self.daemon.directory}/{name}" for name in ("key_file", "state", "kept")}
        mode = {"postfix_dir": str(self.postfix.config_directory), "socket_group": ""}
        self.daemon.configure({"relay": {**places, **mode}})

    def mapped(self, text: str) -> str:
        """Return a text of the page with the places of this site."""
        for there, here in {
            "inet:127.0.0.1:8825": self.listen,
            "smtp:[archive.example.com]:25": self.archive.next_hop,
            "scripts/register ": f"scripts/register --postfix-dir {self.postfix.config_directory} ",
            "ldapmilter ": f"{sys.executable} -m ldapmilter --config {self.daemon.config} ",
        }.items():
            text = text.replace(there, here)
        return text

    def configure(self, ini: str) -> None:
        """Add what a block of configuration says."""
        found: dict[str, dict[str, str]] = {}
        for line in self.mapped(ini).splitlines():
            if line.startswith("["):
                options = found.setdefault(line.strip("[]"), {})
            elif line:
                name, _, value = line.partition(" = ")
                options[name] = value
        self.daemon.configure(found)

    def run(self, command: str) -> tuple[int, str]:
        """Run a line of the page; return its status and what it printed."""
        return run_line(self.mapped(command), ROOT)

    def reload(self) -> None:
        os.kill(self.daemon.pid, signal.SIGHUP)
        self.daemon.said("configuration reloaded")
        self.daemon.said("copy relay serves")


@pytest.fixture(name="office")
def a_site(tmp_path: Path) -> Iterator[Office]:
    with ArchiveServer() as archive:
        office = Office(tmp_path, archive)
        with office.daemon, office.postfix:
            yield office


def test_the_page_leads_to_a_report_in_the_archive(office: Office) -> None:
    (section,) = [one for one in sections(ROOT / "docs" / "copies.md") if one.heading == "Setting it up"]
    text = re.sub("^   ", "", section.text, flags=re.MULTILINE)  # the blocks stand in a list
    (ini,) = re.findall(r"^```ini\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    register, ask = (block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    office.configure(ini)

    printed = [office.run(command) for command in register[:2]]
    assert [status for status, _ in printed] == [0, 0], printed
    assert "would run:" in printed[0][1]
    assert f"routed: copies.invalid to lmtp:{office.listen}" in printed[1][1]
    office.postfix.reload()
    office.reload()
    wait_until(lambda: office.run(register[3])[0] == 0, f"{register[3]} to be content")
    told = office.run(register[2])[1]
    codes = re.findall(r"^(?:problem|warning) .*\[((?:relay|config)-.+)\]$", told, re.MULTILINE)
    assert set(codes) <= OF_THE_TEST, told
    assert len(register) == 4

    message = b"From: Ann <ann@example.com>\r\nTo: joe@client.test\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n"
    assert office.postfix.send(ANN, ["joe@client.test"], message, login=ANN, password="a-password").accepted
    (filed,) = office.archive.wait_filed(1)
    assert filed.recipient == "vault@archive.example.com"
    assert b"\r\nX-MS-Journal-Report:" in filed.octets
    wait_until(lambda: "accepted" in office.run(ask[0])[1], f"{ask[0]} to show the copy")
    status, told = office.run(ask[1].replace(" ID", " '<1@example.com>'"))
    assert (status, "fate: accepted" in told, office.archive.next_hop in told) == (0, True, True), told
