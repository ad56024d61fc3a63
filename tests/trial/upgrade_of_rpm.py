"""An upgrade by the .rpm from one version to another, and the way back, on the host that this runs on.

The host is a Debian with its `rpm`, so what the package requires is not looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.trial.host import KEPT, RPM, assert_bare, done, package
from tests.trial.upgrade import CONFIG, PROGRAM, ROTATION, assert_whole, kept, write

CONFIGURATION: Final = (CONFIG, ROTATION)


def version(file: Path) -> str:
    return done("rpm", "--query", "--package", "--queryformat", "%{VERSION}", file)


def digests(file: Path) -> dict[Path, str]:
    """Return the digest of every configuration file that a package brings."""
    told = done("rpm", "--query", "--package", "--queryformat", "[%{FILENAMES} %{FILEDIGESTS}\n]", file)
    files = {Path(line.partition(" ")[0]): line for line in told.splitlines()}
    return {path: files[path] for path in CONFIGURATION}


def assert_installed(file: Path) -> None:
    whole = version(file)
    assert done("rpm", "--query", "--queryformat", "%{VERSION} ", "ldapmilter") == f"{whole} "
    assert_whole(whole, done("rpm", "--query", "--list", "ldapmilter").splitlines())


def erase() -> None:
    """Erase it: of what is the host's nothing goes, and edited configuration lies beside its place."""
    before = kept()
    done("rpm", "--erase", "ldapmilter")
    saved = {str(path): f"{path}.rpmsave" for path in CONFIGURATION}
    assert kept() == {saved.get(name, name): about for name, about in before.items()}
    assert not PROGRAM.exists()


def test_an_upgrade_keeps_what_is_the_hosts_and_a_downgrade_is_refused() -> None:
    assert_bare()
    older, newer = package(RPM, "older"), package(RPM)
    done("rpm", "--install", "--nodeps", older)
    assert_installed(older)
    # Mode, owner and content of every file are those of the package.
    assert done("rpm", "--verify", "--nodeps", "ldapmilter") == ""
    write()
    before = kept()

    done("rpm", "--upgrade", "--nodeps", newer)
    assert_installed(newer)
    after = kept()
    was, is_ = digests(older), digests(newer)
    # A new one lies beside what was edited, where the two versions bring different ones.
    for path in CONFIGURATION:
        assert (after.pop(f"{path}.rpmnew", None) is not None) == (was[path] != is_[path])
        Path(f"{path}.rpmnew").unlink(missing_ok=True)
    assert after == before

    refusal = done("rpm", "--upgrade", "--nodeps", older, status=2)
    assert "is already installed" in refusal
    # As `dnf downgrade` does.
    refusal = done("rpm", "--upgrade", "--oldpackage", "--nodeps", older, status=1)
    assert f"version {version(newer)} is installed, and {version(older)} is older" in refusal
    assert_installed(newer)
    assert kept() == before

    # The way back that the refusal names.
    erase()
    done("rpm", "--install", "--nodeps", older)
    assert_installed(older)
    for path in CONFIGURATION:
        Path(f"{path}.rpmsave").replace(path)
    assert kept() == before
    erase()
    assert [name for name in KEPT if Path("/", name).exists()]
