"""An upgrade by the .deb from one version to another, and the way back, on the host that this runs on."""

from __future__ import annotations

from pathlib import Path

from tests.trial.host import DEB, KEPT, assert_bare, done, package
from tests.trial.upgrade import PROGRAM, ROTATION, assert_whole, kept, write


def version(file: Path) -> str:
    return done("dpkg-deb", "--field", file, "Version").strip()


def install(file: Path) -> None:
    """Install it as apt does where nobody is asked; dpkg asks where the rotation has changed on both sides."""
    done("dpkg", "--force-confdef", "--force-confold", "--install", file)
    Path(f"{ROTATION}.dpkg-dist").unlink(missing_ok=True)
    assert_installed(file)


def assert_installed(file: Path) -> None:
    whole = version(file)
    state = done("dpkg-query", "--show", "--showformat=${Status} ${Version}", "ldapmilter")
    assert state == f"install ok installed {whole}"
    assert_whole(whole.rpartition("-")[0], done("dpkg-query", "--listfiles", "ldapmilter").splitlines())


def test_an_upgrade_keeps_what_is_the_hosts_and_a_downgrade_is_refused() -> None:
    assert_bare()
    older, newer = package(DEB, "older"), package(DEB)
    install(older)
    write()
    before = kept()

    install(newer)
    assert kept() == before

    refusal = done("dpkg", "--install", older, status=1)
    assert f"version {version(newer)} is installed, and {version(older)} is older" in refusal
    assert_installed(newer)
    assert kept() == before

    # The way back that the refusal names.
    done("dpkg", "--remove", "ldapmilter")
    assert kept() == before
    install(older)
    assert kept() == before
    done("dpkg", "--purge", "ldapmilter")
    assert not [name for name in KEPT if Path("/", name).exists()]
    assert not PROGRAM.exists()
