"""What is handed out depends on what is in it, and on nothing else."""

from __future__ import annotations

import os
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from distribution import tree
from distribution.archive import sha256, sums, write_tar
from distribution.commit import Commit, version_of
from distribution.deb import control, debian_changelog
from distribution.errors import CannotPackage
from distribution.rpm import filled, first_configuration
from distribution.wheelhouse import PINS, requirements
from ldapmilter import __version__

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = 1_795_867_200  # 2026-11-28T12:00:00Z
MAINTAINER = "Ann Able <ann@example.com>"


def commit(where: Path) -> Commit:
    return Commit(name="c0ffee", epoch=EPOCH, version="1.2.3", author=MAINTAINER, tree=where)


def some_files(directory: Path, umask: int, names: list[str], time: int) -> Path:
    before = os.umask(umask)
    try:
        (directory / "sub").mkdir(parents=True)
        for name in names:
            (directory / name).write_text(name, encoding="ascii")
        (directory / "sub" / "run").chmod(0o700)
        (directory / "link").symlink_to("sub/run")
    finally:
        os.umask(before)
    for path in directory.rglob("*"):
        os.utime(path, (time, time), follow_symlinks=False)
    return directory


def test_two_archives_of_the_same_files_are_equal_octet_for_octet(tmp_path: Path) -> None:
    names = ["b", "a", "sub/run", "sub/other"]
    one = some_files(tmp_path / "one", 0o022, names, 1_000_000)
    other = some_files(tmp_path / "other", 0o077, names[::-1], 2_000_000)
    for directory in (one, other):
        write_tar(directory, "x-1", tmp_path / f"{directory.name}.tar.gz", EPOCH)
    assert sha256(tmp_path / "one.tar.gz") == sha256(tmp_path / "other.tar.gz")
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        told = {member.name: (oct(member.mode), member.uid, member.uname, member.mtime) for member in archive}
    assert told["x-1/sub/run"] == ("0o755", 0, "root", EPOCH)
    assert told["x-1/a"] == ("0o644", 0, "root", EPOCH)
    assert list(told) == sorted(told)


def test_the_tree_gets_modes_and_times_of_a_package(tmp_path: Path) -> None:
    root = some_files(tmp_path / "root", 0o077, ["a", "sub/run", "sub/other"], 5)
    tree.settle(root, EPOCH, frozenset({"a"}))
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in root.rglob("*")}
    assert modes == {"a": "0o640", "sub": "0o755", "run": "0o755", "other": "0o644", "link": "0o755"}
    assert {path.lstat().st_mtime for path in (root, *root.rglob("*"))} == {EPOCH}


def wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_wheels_share_a_place_unless_they_disagree(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for minor in ("10", "11"):
        info = {"p-1.dist-info/RECORD": minor, "p-1.dist-info/WHEEL": minor, "p-1.dist-info/METADATA": "m"}
        tree.unpack(wheel(tmp_path / f"{minor}.whl", {"Milter/a.py": "same", f"milter{minor}.so": minor, **info}), site)
    found = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert found == {"Milter/a.py", "milter10.so", "milter11.so", "p-1.dist-info/METADATA"}
    with pytest.raises(CannotPackage, match=r"brings another Milter/a\.py"):
        tree.unpack(wheel(tmp_path / "other.whl", {"Milter/a.py": "other"}), site)
    with pytest.raises(CannotPackage, match="files for other places"):
        tree.unpack(wheel(tmp_path / "data.whl", {"p-1.data/scripts/run": "x"}), site)


def test_a_bundle_takes_every_wheel_by_its_hash_but_for_the_installer(tmp_path: Path) -> None:
    names = [
        "pymilter-1-cp311-x.whl",
        "pymilter-1-cp310-x.whl",
        "Prometheus_Client-2-py3.whl",
        "pip-9-py3-none-any.whl",
    ]
    for name in names:
        (tmp_path / name).write_text(name, encoding="ascii")
    text = requirements(tmp_path.iterdir())
    assert [line.partition(" ")[0] for line in text.splitlines() if "==" in line] == [
        "prometheus-client==2",
        "pymilter==1",
    ]
    assert all(f"--hash=sha256:{sha256(tmp_path / name)}" in text for name in names[:3])
    assert sha256(tmp_path / names[3]) not in text


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x", encoding="ascii")
    (tmp_path / "a").write_text("", encoding="ascii")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sums([tmp_path / "b", tmp_path / "a"]).splitlines()[0] == f"{empty}  a"


def test_the_control_file_is_one(tmp_path: Path) -> None:
    text = control("1.2.3-1", 7, MAINTAINER)
    assert "Depends: adduser, libc6 (>= 2.28), python3 (>= 3.10), python3 (<< 3.14)\n" in text
    assert text.endswith("\n")
    description = text.partition("Description: ")[2].splitlines()
    assert all(line.startswith(" ") and len(line) <= 120 for line in description[1:])
    told = debian_changelog(commit(tmp_path), MAINTAINER)
    assert told.startswith("ldapmilter (1.2.3-1) stable; urgency=medium\n")
    assert told.endswith(f" -- {MAINTAINER}  Sat, 28 Nov 2026 12:00:00 +0000\n")


def test_the_spec_is_filled_in(tmp_path: Path) -> None:
    spec = (PINS / "rpm" / "ldapmilter.spec").read_text(encoding="utf-8")
    text = filled(spec, commit(tmp_path), MAINTAINER, tmp_path / "root")
    assert f"* Sat Nov 28 2026 {MAINTAINER} - 1.2.3-1\n" in text
    assert not {"@VERSION@", "@ROOT@"} & set(text.partition("Name:")[2].split())


def test_the_first_configuration_of_an_rpm_has_the_secret_as_a_credential() -> None:
    example = (PINS.parent / "config.ini.example").read_text(encoding="utf-8").splitlines()
    changed = [line for line in first_configuration(PINS.parent).splitlines() if line not in example]
    assert changed == ["bind_password_file = ldap.secret"]


def test_the_version_is_read_or_refused(tmp_path: Path) -> None:
    assert version_of(PINS.parent / "ldapmilter" / "__init__.py") == __version__
    module = tmp_path / "module.py"
    module.write_text('__version__ = "1.0.0.dev1"\n', encoding="ascii")
    with pytest.raises(CannotPackage, match=r"1\.2\.3"):
        version_of(module)


@pytest.mark.parametrize("pins", ["runtime.txt", "compiled.txt", "installer.txt", "pymilter.txt", "tools.txt"])
def test_everything_that_is_fetched_is_pinned_by_its_hash(pins: str) -> None:
    text = (PINS / pins).read_text(encoding="ascii").replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines
    assert all("==" in line and "--hash=sha256:" in line for line in lines)
