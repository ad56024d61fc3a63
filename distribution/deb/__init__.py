"""The .deb: control files, and the package around the tree."""

from __future__ import annotations

import hashlib
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

ARCHITECTURE: Final = "amd64"
REVISION: Final = "1"
_HERE: Final = Path(__file__).parent
_SCRIPTS: Final = ("preinst", "postinst", "prerm", "postrm")
_BLOCK: Final = 1024
_DESCRIPTION: Final = """\
archive copies, legal copies and From rewriting for Zimbra
 A Postfix milter that is driven by the LDAP directory of Zimbra or
 Carbonio: attributes on accounts, lists, COSes, domains and the global
 config say whose mail is archived, of whom there is a silent legal copy,
 and under which From mail to certain partners leaves.
 .
 Everything that it runs with is in the package, but for Python."""


def make(commit: Commit, wheels: Iterable[Path], maintainer: str, scratch: Path, target: Path) -> Path:
    """Build the package into a directory, and return it."""
    root = scratch / "deb"
    tree.lay_out(commit, wheels, root, "apt-get")
    # Debian's python3 is new enough, and stays the name of it whatever its version becomes.
    (root / tree.PREFIX / "bin" / "python").symlink_to("/usr/bin/python3")
    documents = root / "usr/share/doc/ldapmilter"
    tree.write_packed(commit.tree / "CHANGELOG.md", documents / "changelog.gz")
    tree.write_packed_text(debian_changelog(commit, maintainer), documents / "changelog.Debian.gz")
    shutil.copy(_HERE / "copyright", documents / "copyright")
    overrides = root / "usr/share/lintian/overrides/ldapmilter"
    overrides.parent.mkdir(parents=True)
    shutil.copy(_HERE / "ldapmilter.lintian-overrides", overrides)

    about = root / "DEBIAN"
    about.mkdir()
    version = f"{commit.version}-{REVISION}"
    for name in _SCRIPTS:
        text = (_HERE / name).read_text(encoding="utf-8").replace("@VERSION@", version)
        (about / name).write_text(text, encoding="utf-8")
        (about / name).chmod(0o755)
    files = sorted(
        path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and about not in path.parents
    )
    (about / "conffiles").write_text("/etc/logrotate.d/ldapmilter\n", encoding="ascii")
    (about / "md5sums").write_text("".join(_md5(path, root) for path in files), encoding="utf-8")
    size = sum(-(-path.lstat().st_size // _BLOCK) for path in files)
    (about / "control").write_text(control(version, size, maintainer), encoding="utf-8")
    tree.settle(root, commit.epoch)

    made = target / f"ldapmilter_{version}_{ARCHITECTURE}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(made)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(commit.epoch)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotPackage(f"dpkg-deb: {done.stderr.strip()}")
    return made


def control(version: str, size: int, maintainer: str) -> str:
    """Return the control file (deb-control(5)).

    Args:
        version: with the revision.
        size: in KiB, as installed.
        maintainer: name and address.
    """
    fields = {
        "Package": "ldapmilter",
        "Version": version,
        "Architecture": ARCHITECTURE,
        "Maintainer": maintainer,
        "Installed-Size": str(size),
        "Depends": "adduser, libc6 (>= 2.28), python3 (>= 3.10), python3 (<< 3.14)",
        "Suggests": "logrotate, postfix",
        "Section": "mail",
        "Priority": "optional",
        "Description": _DESCRIPTION,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def debian_changelog(commit: Commit, maintainer: str) -> str:
    """Return the changelog of the packaging (deb-changelog(5)), which has one entry: of this version."""
    when = commit.rfc_time()
    return (
        f"ldapmilter ({commit.version}-{REVISION}) stable; urgency=medium\n\n"
        f"  * Version {commit.version}: see changelog.gz.\n\n -- {maintainer}  {when}\n"
    )


def _md5(path: Path, root: Path) -> str:
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return f"{digest}  {path.relative_to(root)}\n"
