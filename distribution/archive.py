"""Archives and sums whose octets depend on nothing but what is in them."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_EXECUTABLE = 0o111


def write_tar(directory: Path, name: str, target: Path, epoch: int) -> None:
    """Write a directory as `.tar.gz`: in order of names, of nobody's, at one time, with modes 0755 or 0644.

    Args:
        directory: what is written.
        name: how it is called in the archive.
        target: the archive.
        epoch: the time of each of its files.
    """
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in (directory, *sorted(directory.rglob("*"))):
            within = path.relative_to(directory)
            member = archive.gettarinfo(str(path), arcname=f"{name}/{within}" if within.parts else name)
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = epoch
            member.mode = mode_of(path)
            if member.isfile():
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)


def mode_of(path: Path) -> int:
    """Return the mode that a file gets in a package: it does not depend on the umask of whoever built it."""
    if path.is_symlink():
        return 0o777
    return 0o755 if path.is_dir() or path.stat().st_mode & _EXECUTABLE else 0o644


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sums(paths: Iterable[Path]) -> str:
    """Return what `sha256sum --check` reads."""
    return "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(paths, key=lambda path: path.name))
