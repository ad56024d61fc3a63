"""docs/admin-guide.md as an administrator follows it: every command, in order, from a bare site and back to it.

Paths lie below a directory of the test's own, servers have ports of their own; what stands in for a
host's own commands (su, systemctl, ldap, zmlocalconfig) is here. All else is real: the installation,
slapd with Zimbra's schema and without ours, Postfix, the daemon that was installed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from ldapmilter import __version__
from tests.support.builders import account, domain, global_config, server
from tests.support.daemon import Daemon
from tests.support.guide import Section, run_line, sections
from tests.support.identities import MILTER_DN
from tests.support.installed import SCRIPTS, files
from tests.support.ports import HANG, free_port, wait_until
from tests.support.postfix import Postfix
from tests.support.record import merge, to_ldif
from tests.support.slapd import Slapd
from tests.support.slapd_config import ROOT_PASSWORD
from tests.support.zimbra_base import base_records
from tests.support.zimbra_home import ZimbraHome

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.support.record import Record

PAGE: Final = SCRIPTS.parent / "docs" / "admin-guide.md"
RUN: Final = frozenset({"sh", "console"})
SHOWN: Final = frozenset({"text", "ini"})
HOST: Final = "mx1.example.com"
NEW: Final = "new@example.com"
JOE, VAULT, HOLD = "joe@client.example.net", "vault@example.com", "hold@example.com"
# What changes with every write and is nobody's policy.
OPERATIONAL: Final = re.compile(r"^(entryCSN|modifyTimestamp|modifiersName|contextCSN)", re.IGNORECASE)
# The test's certificate is a day old, and its site has no mailbox server.
OF_THE_TEST: Final = {"ldap-certificate-nearly-expired", "identity-no-mailbox-hosts"}
STUBS: Final = {
    # su - zimbra -c COMMAND
    "su": 'exec bash -c "$4"',
    "zmlocalconfig": f'[ "$*" = "-s -m nokey ldap_root_password" ] && echo {ROOT_PASSWORD}',
    "ldapmilter": 'exec "{root}/opt/ldapmilter/bin/ldapmilter" --config "{root}/etc/ldapmilter/config.ini" "$@"',
}


def directory(zimbras_milter: int) -> list[Record]:
    """Return the site that the guide describes, which has never heard of us."""
    made = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.com", zimbraMilterBindPort=str(zimbras_milter)),
            *server(HOST, ["mta"]),
            *domain("example.com"),
            *account("ann@example.com", displayName="Ann Able"),
            *account(VAULT),
            *account("legal@example.com"),
            *account(HOLD),
        ]
    )
    return [record for record in made if record.dn != MILTER_DN]


class Site:
    """A bare Zimbra, and a shell on its MTA.

    Attributes:
        root: what stands for `/` on the MTA.
        place: the same before a path: empty where it is `/`.
        unit: the unit that was installed.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.place = root, str(root).rstrip("/")
        self.unit = root / "etc/systemd/system/ldapmilter.service"
        port = free_port()
        records = directory(port)
        self.slapd = Slapd(records, with_schema=False, milter_acl=False, tls=True)
        export = self.slapd.directory / "export.ldif"
        export.write_text(to_ldif(records), encoding="utf-8")
        # Zimbra's own milter: one that leaves everything as it is.
        self.zimbras = Daemon(
            sections={
                "milter": {"socket": f"inet:127.0.0.1:{port}"},
                "ldap": {"uri": f"ldif:{export}"},
                "policy": {"mode": "pass"},
            }
        )
        self.postfix = Postfix(users={"ann@example.com": "a-password"}, hosted=("example.com",))
        self.home = ZimbraHome(self.slapd, self.postfix, hostname=HOST)
        self.letters = Correspondence(self.postfix)
        self.daemon: subprocess.Popen[bytes] | None = None
        self.log = self.slapd.directory / "ldapmilter.log"

    def __enter__(self) -> Self:
        for server_ in (self.slapd, self.zimbras, self.postfix):
            server_.start()
        assert self.slapd.ca_file is not None
        (self.home.directory / "conf" / "ca").mkdir()
        shutil.copy(self.slapd.ca_file, self.home.directory / "conf" / "ca" / "ca.pem")
        for name, text in STUBS.items():
            command = self.home.directory / "bin" / name
            command.write_text(f"#!/bin/bash\n{text.format(root=self.place)}\n", encoding="utf-8")
            command.chmod(0o755)
        for name in ("opt", "admin"):
            (self.root / name).mkdir(exist_ok=True)
        (self.root / "opt" / "zimbra").symlink_to(self.home.directory)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait(HANG)
        for server_ in (self.postfix, self.zimbras, self.slapd, self.home):
            server_.close()
        (self.root / "opt" / "zimbra").unlink()

    # -- the shell ----------------------------------------------------------------------------

    def mapped(self, command: str) -> str:
        """Return a command of the guide with the paths and servers of this site."""
        root = self.place
        for here, there in {
            "scripts/install ": f"{SCRIPTS}/install --root {root} --python {sys.executable} ",
            "/opt/zimbra/data/ldap/config": f"{self.slapd.directory}/config",
            "/opt/zimbra": f"{self.home.directory}",
            "/opt/ldapmilter": f"{root}/opt/ldapmilter",
            "/etc/ldapmilter": f"{root}/etc/ldapmilter",
            "/run/ldapmilter": f"{root}/run/ldapmilter",
            "/run/ldap-root.secret": f"{root}/admin/ldap-root.secret",
            "libexec/install-schema ": f"libexec/install-schema --config {root}/etc/ldapmilter/config.ini ",
            "register unix:": f"register --zimbra-home {self.home.directory} --wait 30 unix:",
            "libexec/uninstall ": f"libexec/uninstall --root {root} ",
            "ldap://ldap1.example.com:389": self.slapd.uri,
            f"{HOST}:587 --tls": f"127.0.0.1:{self.postfix.port}",
        }.items():
            command = command.replace(here, there)
        return command

    def run(self, command: str) -> tuple[int, str]:
        """Run a line of the guide; return its status and what it printed."""
        bins = f"{self.home.directory}/bin:{self.home.directory}/common/sbin"
        environment = {**os.environ, "PATH": f"{bins}:{os.environ['PATH']}"}
        return run_line(self.mapped(command), SCRIPTS.parent, environment=environment, seconds=4 * HANG)

    def follow(self, command: str) -> str:
        """Do what a line of the guide says; it has to succeed. Return what it printed."""
        if command.startswith("systemctl "):
            self.systemctl(command)
            return ""
        if command.startswith("su - zimbra -c 'ldap "):
            (self.slapd.stop if "stop" in command else self.slapd.start)()
            return ""
        status, output = self.run(command)
        assert status == 0, f"{command}: {status}\n{output}"
        if command.startswith("scripts/install ") and "--dry-run" not in command:
            self.move_in()
        if "register" in command and "--dry-run" not in command:
            self.postfix.reload()  # zmconfigd's "RESTART mta"
        return output

    def move_in(self) -> None:
        """Have the configuration name the places of this site, as the program was laid out below a root."""
        config = self.root / "etc" / "ldapmilter" / "config.ini"
        text = config.read_text(encoding="utf-8")
        if str(self.root) in text:
            return  # an upgrade, which has kept it
        for place in ("/run/ldapmilter", "/var/log/ldapmilter", "/etc/ldapmilter"):
            text = text.replace(place, f"{self.root}{place}")
        config.write_text(text, encoding="utf-8")

    def systemctl(self, command: str) -> None:
        """Do what systemd does by the unit that was installed."""
        unit = self.unit.read_text(encoding="utf-8")
        if command == "systemctl enable --now ldapmilter":
            self.start(unit)
            return
        assert self.daemon is not None
        if command == "systemctl restart ldapmilter":
            self.restart(unit)
            return
        if command == "systemctl reload ldapmilter":
            before = self.said("configuration reloaded in")
            self.daemon.send_signal(signal.SIGHUP)
            wait_until(lambda: self.said("configuration reloaded in") > before, "the reload")
            return
        assert command == "systemctl disable --now ldapmilter"
        self.stop()

    def said(self, text: str) -> int:
        """Return how often the daemon has logged a text so far."""
        return self.log.read_text(encoding="utf-8").count(text)

    def start(self, unit: str) -> None:
        """Start the daemon as the unit says."""
        (self.root / "run" / "ldapmilter").mkdir(parents=True)  # RuntimeDirectory=
        (start,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
        with self.log.open("ab") as log:
            self.daemon = self.begin(self.mapped(start).split(), log)
        for name in ("milter.sock", "control.sock"):
            wait_until((self.root / "run/ldapmilter" / name).exists, "the daemon")

    def begin(self, command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start the command of the unit."""
        return subprocess.Popen(command, stdout=log, stderr=log, cwd="/")

    def restart(self, unit: str) -> None:
        """Restart it while mail is under way, before and after."""
        written = self.letters.accepted
        with self.letters:
            wait_until(lambda: len(written) > 1, "letters before the restart")
            self.stop()
            self.start(unit)
            before = len(written)
            wait_until(lambda: len(written) > before + 2, "letters after the restart")

    def stop(self) -> None:
        """Stop it, and take away what systemd takes away then."""
        assert self.daemon is not None
        self.daemon.terminate()
        assert self.daemon.wait(HANG) == 0
        shutil.rmtree(self.root / "run" / "ldapmilter")

    # -- what there is to see -------------------------------------------------------------------

    def directory_state(self) -> list[str]:
        """Return all that the directory holds, whatever its order."""
        return _entries(self.slapd.slapcat())

    def configuration_state(self) -> list[str]:
        """Return all that cn=config holds."""
        told = ["slapcat", "-n0", "-F", str(self.slapd.directory / "config")]
        return _entries(subprocess.run(told, check=True, capture_output=True, text=True, timeout=HANG).stdout)

    def postfix_state(self) -> list[str]:
        command = ["postconf", "-c", str(self.postfix.config_directory), "-h", "smtpd_milters", "non_smtpd_milters"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG).stdout.splitlines()

    def state(self) -> tuple[object, ...]:
        return self.directory_state(), self.configuration_state(), self.postfix_state(), self.left()

    def left(self) -> list[str]:
        """Return the files of the host; directories such as /etc are everywhere."""
        return [path for path in files(self.root) if not (self.root / path).is_dir()]

    def mail_of(self, mailbox: str) -> list[bytes]:
        self.postfix.queue_idle()
        return self.postfix.messages(mailbox) if mailbox in self.postfix.recipients() else []


class Correspondence:
    """A client that writes to joe all the while, and tries again what is told to wait."""

    def __init__(self, postfix: Postfix) -> None:
        self._postfix, self._stopped = postfix, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.accepted: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join(HANG)

    def _write(self) -> None:
        # Bounded, however long an upgrade takes.
        for number in range(200):
            subject = f"letter {number}"
            message = f"From: ann@example.com\nTo: {JOE}\nSubject: {subject}\n\nDear Joe\n".encode("ascii")
            while not self._once(message):
                if self._stopped.wait(0.2):
                    return
            self.accepted.append(subject)
            if self._stopped.wait(0.3):
                return

    def _once(self, message: bytes) -> bool:
        ann = "ann@example.com"
        return self._postfix.send(ann, [JOE], message, login=ann, password="a-password").accepted


def subjects(messages: list[bytes]) -> list[str]:
    """Return the subjects of the letters among messages, in order of their numbers."""
    found = (re.search(rb"^Subject: letter (\d+)$", one, re.MULTILINE) for one in messages)
    return [f"letter {number}" for number in sorted(int(match[1]) for match in found if match)]


def _entries(ldif: str) -> list[str]:
    return sorted(
        "\n".join(sorted(line for line in entry.splitlines() if not OPERATIONAL.match(line)))
        for entry in ldif.split("\n\n")
    )


def commands(section: Section) -> list[tuple[str, str | None]]:
    """Return the commands of a section, each with what it prints where the guide shows it."""
    runnable = tuple(block for block in section.blocks if block[0] in RUN)
    part = Section(heading=section.heading, text=section.text, blocks=runnable)
    return [(step.command, step.output) for step in part.steps()]


def froms(message: bytes) -> list[bytes]:
    head = message.partition(b"\n\n")[0]
    return [line.partition(b":")[2].strip() for line in head.split(b"\n") if line.lower().startswith(b"from:")]


def findings(printed: str) -> set[str]:
    """Return the codes of the problems and warnings that `check` has printed."""
    return set(re.findall(r"^(?:problem|warning) .*\[(.+)\]$", printed, re.MULTILINE))


def assert_upgraded(site: Site, printed: dict[str, str]) -> None:
    """The new version runs, and every letter of the time around its restart is where it belongs, once."""
    assert printed["ldapmilter --version"] == f"ldapmilter {__version__}\n"
    assert findings(printed["ldapmilter check"]) == OF_THE_TEST
    assert len(site.letters.accepted) > 4
    for mailbox in (JOE, VAULT, HOLD):
        assert subjects(site.mail_of(mailbox)) == site.letters.accepted, mailbox


def test_from_a_bare_site_to_the_first_copy_and_back_without_a_trace() -> None:
    with tempfile.TemporaryDirectory(prefix="guide-") as directory:
        Path(directory).chmod(0o755)
        walk(Site(Path(directory)))


def walk(given: Site) -> None:
    """Follow the guide from its first command to its last, and look at what it promises."""
    guide = {section.heading: section for section in sections(PAGE)}
    with given as site, site.home.zmconfigd():
        before = site.state()
        printed: dict[str, str] = {}
        for heading, section in guide.items():
            for command, expected in commands(section):
                printed[command] = output = (
                    site.run(command)[1] if command.startswith("ldapmilter check") else site.follow(command)
                )
                if expected is not None:
                    shown = [line for line in output.splitlines() if not line.startswith("searches ")]
                    assert shown == expected.splitlines(), command
            if heading == "Register":
                assert findings(printed["ldapmilter check"]) == OF_THE_TEST | {"config-not-applied"}
                assert site.postfix_state()[0].startswith(f"unix:{site.place}/run/ldapmilter/milter.sock, inet:")
                # What is made from now on carries our class.
                assert site.run(f"su - zimbra -c 'zmprov ca {NEW} a-password'")[0] == 0
            if heading == "First policy":
                assert findings(printed["ldapmilter check --directory"]) == OF_THE_TEST | {"config-not-applied"}
            if heading == "Trial run":
                # Decided, and nothing done.
                assert [froms(message) for message in site.mail_of(JOE)] == [[b"ann@example.com"]]
                assert (site.mail_of(VAULT), site.mail_of(HOLD)) == ([], [])
                wait_until(lambda: site.said("would_copy=") > 0, "the line of the message")
            if heading == "In earnest":
                assert findings(printed["ldapmilter check --directory"]) == OF_THE_TEST
                _, told = site.mail_of(JOE)
                assert froms(told) == [b"Legal Dept. <legal@example.com>"]
                for mailbox in (VAULT, HOLD):
                    (copy,) = site.mail_of(mailbox)
                    assert froms(copy) == froms(told)
                assert VAULT.encode() not in told
                assert f"copy={HOLD}" not in site.log.read_text(encoding="utf-8")
            if heading == "Upgrades":
                assert_upgraded(site, printed)
        assert site.run(f"su - zimbra -c 'zmprov da {NEW}'")[0] == 0
        assert site.state() == before


def test_every_block_is_either_run_or_shown() -> None:
    for section in sections(PAGE):
        assert {language for language, _ in section.blocks} <= RUN | SHOWN, section.heading
