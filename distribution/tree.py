"""What the .deb and the .rpm lay out: the program in /opt, and what belongs to it elsewhere.

The program lies under a virtual environment that is made of files alone, none of which depends on the Python
of a host: `lib/python3.N` are links to one directory, whose only compiled module lies there for each CPython.
So nothing is built at installation, every file is the package manager's, and a host that gets another Python
keeps a working milter.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Final

from distribution.archive import mode_of
from distribution.errors import CannotPackage
from distribution.headers import MINORS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from distribution.commit import Commit

PREFIX: Final = "opt/ldapmilter"
PAGES: Final = ("ldapmilter.1", "ldapmilter.ini.5", "ldapmilter-attributes.5")
_COMMANDS: Final = ("register", "unregister", "install-schema")
_PARTS: Final = ("registration.bash", "milter_list.bash", "options.bash", "relay_route.bash", "still_asked.bash")
_HOME: Final = "home = /usr/bin\ninclude-system-site-packages = false\n"
_PROGRAM: Final = """\
#!/opt/ldapmilter/bin/python
import sys

from ldapmilter.cli.main import entry_point

sys.exit(entry_point())
"""


def lay_out(commit: Commit, wheels: Iterable[Path], root: Path, manager: str) -> None:
    """Lay out what both packages have, below a directory that is made.

    Args:
        commit: what is packaged.
        wheels: the program's and those that it runs with.
        root: the directory, which stands for `/`.
        manager: the command that upgrades and removes the package: `apt-get` or `dnf`.
    """
    prefix = root / PREFIX
    site = prefix / "lib" / "python3" / "site-packages"
    site.mkdir(parents=True)
    for minor in MINORS:
        (prefix / "lib" / f"python{minor}").symlink_to("python3")
    for wheel in wheels:
        unpack(wheel, site)
    (prefix / "pyvenv.cfg").write_text(_HOME, encoding="ascii")
    _write(prefix / "bin" / "ldapmilter", _PROGRAM, 0o755)
    source = commit.tree
    for name in _PARTS:
        _copy(source / "scripts" / name, prefix / "libexec" / name)
    for name in _COMMANDS:
        text = (source / "scripts" / name).read_text(encoding="utf-8")
        _write(prefix / "libexec" / name, text.replace("#!/usr/bin/env bash\n", "#!/bin/bash\n", 1), 0o755)
    for name in ("config.ini.example", "schema/ldapmilter.ldif", "contrib/systemd/ldapmilter.service"):
        _copy(source / name, prefix / "share" / "ldapmilter" / name.rpartition("/")[2])
    _write(prefix / "share" / "ldapmilter" / "package", f"{manager}\n")
    _link(root / "usr/bin/ldapmilter", "/opt/ldapmilter/bin/ldapmilter")
    _copy(source / "contrib/systemd/ldapmilter.service", root / "usr/lib/systemd/system/ldapmilter.service")
    _copy(source / "contrib/logrotate/ldapmilter", root / "etc/logrotate.d/ldapmilter")
    for page in PAGES:
        section = page.rpartition(".")[2]
        write_packed(source / "man" / page, root / f"usr/share/man/man{section}/{page}.gz")
    documents = root / "usr/share/doc/ldapmilter"
    for name in ("docs", "contrib"):
        shutil.copytree(source / name, documents / name)
    _copy(source / "README.md", documents / "README.md")
    _copy(source / "config.ini.example", documents / "config.ini.example")


def unpack(wheel: Path, site: Path) -> None:
    """Unpack a wheel (PEP 427) into a directory that others are in; two may share a file that is the same.

    Raises:
        CannotPackage: two wheels disagree, or one has files for other places than this.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            top, _, within = name.partition("/")
            if top.endswith(".data"):
                raise CannotPackage(f"{wheel.name} has files for other places: {name}")
            # RECORD and WHEEL tell of one wheel; here several lie in one place, and the package manager has the list.
            if name.endswith("/") or (top.endswith(".dist-info") and within in {"RECORD", "WHEEL"}):
                continue
            if name.endswith("/.gitignore"):
                continue
            target, content = site / name, archive.read(name)
            if name.endswith(".py") and content.startswith(b"#!"):
                # A module of a library: nobody runs it as a script. The line stays, so that tracebacks hold.
                content = b"#" + content[2:]
            if target.exists() and target.read_bytes() != content:
                raise CannotPackage(f"{wheel.name} brings another {name} than a wheel before it")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def settle(root: Path, epoch: int, private: frozenset[str] = frozenset()) -> None:
    """Give every file the mode and the time that it has in a package.

    Args:
        root: the directory, which stands for `/`.
        epoch: the time.
        private: paths below it that only the owner may write, and only the group read.
    """
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o640 if str(path.relative_to(root)) in private else mode_of(path))
    # Last: every change in a directory changes its time.
    for path in (*root.rglob("*"), root):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def write_packed(source: Path, target: Path) -> None:
    """Write a file as `.gz`, without its name and time."""
    write_packed_text(source.read_text(encoding="utf-8"), target)


def write_packed_text(text: str, target: Path) -> None:
    """Write a text as `.gz`, without name and time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _write(target: Path, text: str, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    target.chmod(mode)


def _link(target: Path, to: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(to)
