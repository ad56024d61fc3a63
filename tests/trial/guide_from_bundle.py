"""docs/admin-guide.md with the program from the bundle, on a host whose own Python is too old.

`scripts/try-package bullseye` runs it in a root of its own, without network; a run of the whole suite does not collect
it. The Python that this runs on is the one that a site has put beside its own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from tests.e2e.test_admin_guide import walk
from tests.trial.host import BUNDLE, DEB, KEPT, Host, assert_bare, done, package, there

if TYPE_CHECKING:
    from typing_extensions import Self

# What the environment of the test is made of.
PYTHON: Final = f"{sys.base_prefix}/bin/python3"


def install() -> str:
    """Return the command that docs/packages.md has."""
    return f"/root/trial/clone/scripts/install --bundle {package(BUNDLE)} "


class BundledSite(Host):
    """The guide's host with the bundle in place of the clone."""

    def __init__(self) -> None:
        super().__init__()
        self._host = frozenset[str]()

    def __enter__(self) -> Self:
        """Take stock of the host, which has no systemd: it stands in the guide's unit, and nothing answers."""
        super().__enter__()
        systemctl = self.home.directory / "bin" / "systemctl"
        systemctl.write_text('#!/bin/sh\n[ "$*" = daemon-reload ]\n', encoding="ascii")
        systemctl.chmod(0o755)
        self._host = stock()
        return self

    def mapped(self, command: str) -> str:
        """Return a command of the guide as docs/packages.md has it for a bundle and a Python of one's own."""
        if command.startswith("scripts/install "):
            command = command.replace("scripts/install ", f"{install()}--python {PYTHON} ", 1)
            command = command.replace("/opt/zimbra", str(self.home.directory))
            return command.replace("ldap://ldap1.example.com:389", self.slapd.uri)
        if "libexec/uninstall" in command:
            return command
        return super().mapped(command)

    def follow(self, command: str) -> str:
        """Do what a line says; look at what a removal leaves, at first without --purge."""
        if command.endswith("libexec/uninstall --purge"):
            self.done(command.removesuffix(" --purge"))
            left = stock()
            assert [path for path in left - self._host if not self._is_kept(path)] == []
            assert {"etc/ldapmilter/config.ini", "var/log/ldapmilter/audit.jsonl"} <= left
            # It has gone with the program; a bundle brings it again.
            self.done("/root/trial/clone/scripts/uninstall --purge")
            assert stock() == self._host
            assert self.run("getent passwd ldapmilter")[0] == 2
            return ""
        return super().follow(command)

    @staticmethod
    def _is_kept(path: str) -> bool:
        return path.startswith(KEPT) and path != "etc/logrotate.d/ldapmilter"


def stock() -> frozenset[str]:
    """Return what there is, but for the directories of manual pages below /usr/local, which are anybody's."""
    return frozenset(path for path in there() if path not in {"usr/local/share/man/man1", "usr/local/share/man/man5"})


def test_what_does_not_fit_the_host_is_refused_and_changes_nothing() -> None:
    assert_bare()
    before = stock()
    refused = done("dpkg", "--install", package(DEB), status=1)
    assert "ldapmilter depends on python3" in refused
    assert "ldapmilter" in done("dpkg", "--purge", "ldapmilter")
    assert stock() == before
    refused = done(*install().split(), "--service", "systemd", status=2)
    assert "(Debian 12 is the first): name a Python of your own with --python" in refused
    assert stock() == before


def test_from_the_bundle_to_the_first_copy_and_back_without_a_trace() -> None:
    assert_bare()
    walk(BundledSite())
