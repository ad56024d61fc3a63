"""scripts/install --bundle: off-line, with every wheel by its hash; upgrade and downgrade."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support import small_bundle
from tests.support.installed import files, run
from tests.support.ports import HANG

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return bundles of three versions, each in a directory with SHA256SUMS."""
    versions = ("1.9.0", "1.10.0", "2.0.0")
    return {version: small_bundle.make(tmp_path_factory.mktemp("bundle"), version) for version in versions}


def version(root: Path) -> str:
    command = [str(root / "opt/ldapmilter/bin/ldapmilter"), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG).stdout.strip()


def install(root: Path, bundle: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("install", root, "--service", "systemd", "--bundle", str(bundle), *more)


def unpack(bundle: Path, place: Path) -> None:
    """Unpack a bundle, as its page says."""
    subprocess.run(["tar", "-xzf", str(bundle), "-C", str(place)], check=True, timeout=HANG)


def test_an_upgrade_keeps_what_is_yours_and_a_downgrade_is_refused(tmp_path: Path, bundles: dict[str, Path]) -> None:
    done = install(tmp_path, bundles["1.9.0"], "--ldap-uri", "ldap://ldap1.example.com:389")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert version(tmp_path) == "ldapmilter 1.9.0"
    assert "uri = ldap://ldap1.example.com:389\n" in (tmp_path / "etc/ldapmilter/config.ini").read_text(
        encoding="utf-8"
    )
    (tmp_path / "var/log/ldapmilter/audit.jsonl").write_text("{}\n", encoding="ascii")
    (tmp_path / "var/lib/ldapmilter/state").write_text("a copy\n", encoding="ascii")
    kept = ["etc/ldapmilter/config.ini", "etc/ldapmilter/ldap.secret", "var/log/ldapmilter/audit.jsonl"]
    kept.append("var/lib/ldapmilter/state")
    before = {name: (tmp_path / name).read_bytes() for name in kept}
    listed = files(tmp_path)
    # As text 1.10 is older than 1.9.
    done = install(tmp_path, bundles["1.10.0"])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert version(tmp_path) == "ldapmilter 1.10.0"
    assert {name: (tmp_path / name).read_bytes() for name in kept} == before
    assert files(tmp_path) == listed

    refused = install(tmp_path, bundles["1.9.0"])
    assert refused.returncode == 1
    assert "version 1.10.0 is installed, and 1.9.0 is older" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert (version(tmp_path), files(tmp_path)) == ("ldapmilter 1.10.0", listed)
    # The way that it names.
    assert run("uninstall", tmp_path).returncode == 0
    assert install(tmp_path, bundles["1.9.0"]).returncode == 0
    assert version(tmp_path) == "ldapmilter 1.9.0"
    assert {name: (tmp_path / name).read_bytes() for name in kept} == before


def test_an_unpacked_bundle_installs_itself_and_tells_before(tmp_path: Path, bundles: dict[str, Path]) -> None:
    unpack(bundles["2.0.0"], tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    command = [str(tmp_path / "ldapmilter-2.0.0/scripts/install"), "--root", str(root), "--python", sys.executable]
    told = subprocess.run([*command, "--dry-run"], check=False, capture_output=True, text=True, timeout=HANG)
    assert (told.returncode, files(root)) == (0, {}), told.stderr
    assert "would do  /opt/ldapmilter: ldapmilter 2.0.0, on Python 3." in told.stdout


def test_a_bundle_that_is_not_what_its_sums_say_is_refused(tmp_path: Path, bundles: dict[str, Path]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    bundle = tmp_path / bundles["2.0.0"].name
    shutil.copy(bundles["2.0.0"], bundle)
    shutil.copy(bundles["2.0.0"].with_name("SHA256SUMS"), tmp_path)
    with bundle.open("ab") as damaged:
        damaged.write(b"x")
    done = install(root, bundle)
    assert (done.returncode, "is not what" in done.stderr, files(root)) == (2, True, {})
    (tmp_path / "SHA256SUMS").write_text("0  another\n", encoding="ascii")
    assert f"does not name {bundle.name}" in install(root, bundle).stderr
    (tmp_path / "SHA256SUMS").unlink()
    bundle.write_bytes(bundles["2.0.0"].read_bytes())
    unchecked = install(root, bundle, "--dry-run")
    assert (unchecked.returncode, unchecked.stderr.count("\n")) == (0, 1)
    assert "no SHA256SUMS beside" in unchecked.stderr


def test_a_wheel_that_is_not_the_one_of_its_hash_is_refused(tmp_path: Path, bundles: dict[str, Path]) -> None:
    unpack(bundles["2.0.0"], tmp_path)
    inside = tmp_path / "ldapmilter-2.0.0"
    (wheel,) = (inside / "wheels").glob("ldapmilter-*.whl")
    with wheel.open("ab") as changed:
        changed.write(b"x")
    root = tmp_path / "root"
    root.mkdir()
    command = [str(inside / "scripts/install"), "--root", str(root), "--python", sys.executable, "--service", "none"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (root / "opt/ldapmilter/bin/ldapmilter").exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["etc/passwd"], "is not a bundle of ldapmilter"),
        (["ldapmilter-1.0.0/../../etc/x"], "is not a bundle of ldapmilter"),
        (["ldapmilter-1.0.0/README.md"], "is not a bundle of ldapmilter"),
        ([], "is no archive"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, names: list[str], says: str) -> None:
    bundle = tmp_path / "x.tar.gz"
    bundle.write_bytes(b"no archive")
    if names:
        with tarfile.open(bundle, "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))
    root = tmp_path / "root"
    root.mkdir()
    done = install(root, bundle)
    assert (done.returncode, says in done.stderr, files(root)) == (2, True, {}), done.stderr
    assert done.stdout == ""


def test_what_a_package_has_laid_out_is_left_to_the_package_manager(tmp_path: Path, bundles: dict[str, Path]) -> None:
    share = tmp_path / "opt/ldapmilter/share/ldapmilter"
    share.mkdir(parents=True)
    (tmp_path / "opt/ldapmilter/pyvenv.cfg").touch()
    (share / "package").write_text("apt-get\n", encoding="ascii")
    before = files(tmp_path)
    done = install(tmp_path, bundles["2.0.0"])
    assert (done.returncode, "upgraded by apt-get install" in done.stderr) == (1, True)
    removed = run("uninstall", tmp_path, "--purge")
    assert (removed.returncode, "apt-get remove ldapmilter" in removed.stderr) == (1, True)
    assert files(tmp_path) == before
