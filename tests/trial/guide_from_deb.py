"""docs/admin-guide.md with the program from the .deb, on the host that this runs on.

`scripts/try-package` runs it in a root of its own, without network; a run of the whole suite does not collect it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.e2e.test_admin_guide import walk
from tests.trial.host import DEB, KEPT, Host, assert_bare, package, there

CONFIG: Final = Path("/etc/ldapmilter/config.ini")


class PackagedSite(Host):
    """The guide's host with the .deb in place of the clone."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = Path("/usr/lib/systemd/system/ldapmilter.service")
        self._host = frozenset[str]()

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
        self.done(f"dpkg --install {package(DEB)}")
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


def test_from_the_package_to_the_first_copy_and_back_without_a_trace() -> None:
    assert_bare()
    walk(PackagedSite())
