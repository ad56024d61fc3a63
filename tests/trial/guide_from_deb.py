"""docs/admin-guide.md with the program from the .deb, on the host that this runs on, which has to be a trial's own.

`scripts/try-package` runs it in a root of its own, without network; a run of the whole suite does not collect it.
What stands in for a host's own commands is as in tests/e2e/test_admin_guide.py; paths, user and modes are real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from tests.e2e.test_admin_guide import Site, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path("/")
CONFIG: Final = Path("/etc/ldapmilter/config.ini")
CREDENTIALS: Final = Path("/run/credentials/ldapmilter.service")
# What a removal keeps, by Debian's policy: configuration, and what the program has written.
KEPT: Final = ("etc/ldapmilter", "etc/logrotate.d/ldapmilter", "var/log/ldapmilter", "var/lib/ldapmilter")
# Of the kernel, of the test, and what dpkg and adduser write of every package.
ELSEWHERE: Final = frozenset({"proc", "sys", "dev", "tmp", "root", "run", "admin"})
OTHERS: Final = ("var/lib/dpkg", "var/log/dpkg.log", "var/log/alternatives.log", "var/cache", "var/tmp")


class PackagedSite(Site):
    """The guide's host with the .deb in place of the clone."""

    def __init__(self, package: Path, transcript: Path) -> None:
        super().__init__(ROOT)
        self.unit = Path("/usr/lib/systemd/system/ldapmilter.service")
        self._package, self._transcript = package, transcript
        self._host = frozenset[str]()
        transcript.write_text("", encoding="utf-8")

    def run(self, command: str) -> tuple[int, str]:
        """Run a line and take it down."""
        began = time.monotonic()
        status, output = super().run(command)
        took = time.monotonic() - began
        with self._transcript.open("a", encoding="utf-8") as transcript:
            transcript.write(f"$ {command}\n{output}[status {status}, {took:.1f} s]\n\n")
        return status, output

    def follow(self, command: str) -> str:
        """Do what a line says, with dpkg where the guide has scripts/install and uninstall."""
        if command.startswith("scripts/install --dry-run"):
            return ""
        if command.startswith("scripts/install "):
            self.install(first="--ldap-uri" in command)
            return ""
        if "libexec/uninstall" in command:
            self.remove()
            return ""
        return super().follow(command)

    def install(self, *, first: bool) -> None:
        """Install the package; at first also say where the servers are, as docs/packages.md has it."""
        if first:
            self._host = frozenset(there())
        self.done(f"dpkg --install {self._package}")
        if first:
            assert self.run("stat --format='%U:%G %a' /etc/ldapmilter/config.ini")[1] == "root:ldapmilter 640\n"
            self.done("cp /opt/zimbra/conf/ca/ca.pem /etc/ldapmilter/ca.pem")
            uri = "s|^uri = .*|uri = ldap://ldap1.example.com:389|"
            self.done(f"sed -i -e '{uri}' -e 's|^ca_file =.*|ca_file = /etc/ldapmilter/ca.pem|' {CONFIG}")

    def remove(self) -> None:
        """Remove the package, then purge it, and look at what is left."""
        self.done("dpkg --remove ldapmilter")
        left = frozenset(there())
        assert self._host - left == frozenset()
        assert [path for path in left - self._host if not path.startswith(KEPT)] == []
        assert {"etc/ldapmilter/config.ini", "var/log/ldapmilter/audit.jsonl"} <= left
        self.done("dpkg --purge ldapmilter")
        assert frozenset(there()) == self._host
        assert self.run("getent passwd ldapmilter")[0] == 2

    def done(self, command: str) -> None:
        """Run a line that has to succeed."""
        status, output = self.run(command)
        assert status == 0, output

    def begin(self, command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start the daemon as systemd does: as its user, in its groups, with its credential."""
        shutil.rmtree(CREDENTIALS, ignore_errors=True)
        CREDENTIALS.mkdir(parents=True)
        shutil.copy("/etc/ldapmilter/ldap.secret", CREDENTIALS)
        for path in (CREDENTIALS, CREDENTIALS / "ldap.secret", ROOT / "run/ldapmilter"):
            shutil.chown(path, "ldapmilter", "ldapmilter")
        as_user = ["setpriv", "--reuid=ldapmilter", "--regid=ldapmilter", "--init-groups", "--no-new-privs"]
        environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(CREDENTIALS)}
        return subprocess.Popen([*as_user, *command], stdout=log, stderr=log, cwd="/", env=environment)

    def left(self) -> list[str]:
        """Nothing: what the package leaves is looked at when it is removed."""
        return []


def there() -> Iterator[str]:
    """Yield what there is on this host, files and directories, but for what is nobody's or everybody's."""
    for directory, names, files in os.walk(ROOT):
        below = Path(directory).relative_to(ROOT)
        if below == Path():
            names[:] = [name for name in names if name not in ELSEWHERE]
        for name in names + files:
            path = str(below / name)
            # adduser keeps /etc/passwd- and the like; Python compiles its own library for whoever runs it first.
            if not path.startswith(OTHERS) and not path.endswith("-") and "usr/lib/python3" not in path:
                yield path


def test_from_the_package_to_the_first_copy_and_back_without_a_trace() -> None:
    assert Path("/root/trial").is_dir(), "only in a root that scripts/try-package has made"
    package = Path(os.environ["LDAPMILTER_PACKAGE"])
    # Nothing but the loopback device: whatever wants the network fails.
    devices = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert shutil.which("cc") is None
    walk(PackagedSite(package, Path("/root/trial/transcript.txt")))
