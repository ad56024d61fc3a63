"""The .rpm: the spec, and rpmbuild around the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distribution import tree
from distribution.errors import CannotPackage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distribution.commit import Commit

ARCHITECTURE: Final = "x86_64"
_HERE: Final = Path(__file__).parent
_PRIVATE: Final = frozenset({"etc/ldapmilter/config.ini"})
# Nothing of the host, or of the moment, is in the package.
_DEFINES: Final = {
    "_buildhost": "ldapmilter",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "source_date_epoch_from_changelog": "0",
    "vendor": "%{nil}",
    "distribution": "%{nil}",
}


def make(commit: Commit, wheels: Iterable[Path], maintainer: str, scratch: Path, target: Path) -> Path:
    """Build the package into a directory, and return it."""
    root, top = scratch / "rpm-root", scratch / "rpm"
    tree.lay_out(commit, wheels, root, "dnf")
    shutil.copy(_HERE / "use-python", root / tree.PREFIX / "libexec" / "use-python")
    # A package for whatever Python there is: which one, the host decides (use-python).
    (root / tree.PREFIX / "bin" / "python").symlink_to("/usr/bin/python3")
    shutil.copy(commit.tree / "CHANGELOG.md", root / "usr/share/doc/ldapmilter")
    shutil.copy(commit.tree / "LICENSE", root / "usr/share/doc/ldapmilter")
    configuration = root / "etc/ldapmilter/config.ini"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(first_configuration(commit.tree), encoding="utf-8")
    for name in ("log", "lib"):
        (root / "var" / name / "ldapmilter").mkdir(parents=True)
    tree.settle(root, commit.epoch, _PRIVATE)

    top.mkdir()
    spec = top / "ldapmilter.spec"
    spec.write_text(
        filled((_HERE / "ldapmilter.spec").read_text(encoding="utf-8"), commit, maintainer, root), encoding="utf-8"
    )
    command = ["rpmbuild", "-bb", "--quiet", "--nodeps", "--target", ARCHITECTURE, "--define", f"_topdir {top}"]
    for name, value in _DEFINES.items():
        command += ["--define", f"{name} {value}"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(commit.epoch), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run([*command, str(spec)], env=environment, capture_output=True, text=True, check=False)
    made = top / "RPMS" / ARCHITECTURE / f"ldapmilter-{commit.version}-1.{ARCHITECTURE}.rpm"
    if done.returncode or not made.is_file():
        raise CannotPackage(f"rpmbuild: {done.stderr.strip()}")
    return Path(shutil.copy(made, target))


def first_configuration(source: Path) -> str:
    """Return the configuration of a new host: the example, with the secret as a credential of systemd's."""
    example = (source / "config.ini.example").read_text(encoding="utf-8")
    changed = [
        "bind_password_file = ldap.secret" if line.startswith("bind_password_file = ") else line
        for line in example.splitlines()
    ]
    return "\n".join(changed) + "\n"


def filled(spec: str, commit: Commit, maintainer: str, root: Path) -> str:
    """Return the spec of one commit."""
    for name, value in {
        "VERSION": commit.version,
        "MAINTAINER": maintainer,
        "CHANGED": commit.rpm_date(),
        "ROOT": str(root),
    }.items():
        spec = spec.replace(f"@{name}@", value)
    return spec
