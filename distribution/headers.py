"""Where the headers of each CPython lie.

A minor version keeps its binary interface (PEP 387), so the headers of any of its releases do. Nothing of
the interpreter is run: headers alone are enough, wherever they come from.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distribution.errors import CannotPackage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MINORS: Final = ("3.10", "3.11", "3.12", "3.13")
"""The versions of CPython that there are wheels for."""

PLACES: Final = (
    "/usr",
    "/usr/local",
    "~/.pyenv/versions/*",
    "~/.local/share/uv/python/cpython-*",
    "/opt/python/cp*",
)
"""Where interpreters with headers lie: the distribution's, one's own, pyenv, uv, manylinux."""

_MINOR: Final = re.compile(r"#\s*define\s+PY_VERSION\s+\"(3\.[0-9]+)[.\"]")
_FAMILY: Final = re.compile(r"#\s*include\s+<([a-z0-9_]+-linux-gnu)/")


def find(named: Sequence[Path], places: Iterable[str] = PLACES) -> dict[str, Path]:
    """Return the directory with `Python.h` of each version in MINORS.

    Args:
        named: prefixes that are looked at first: directories that have `include/python3.N`.
        places: patterns of further prefixes.

    Raises:
        CannotPackage: one is missing.
    """
    found: dict[str, Path] = {}
    for prefix in (*named, *(path for place in places for path in _matches(place))):
        for directory in sorted((prefix / "include").glob("python3.*")):
            minor = minor_of(directory)
            if minor in MINORS and minor not in found:
                found[minor] = directory
    if missing := [minor for minor in MINORS if minor not in found]:
        raise CannotPackage(missing_text(missing, found))
    return found


def minor_of(directory: Path) -> str | None:
    """Return the version that headers are of, as `3.12`, or None where there are none."""
    try:
        text = (directory / "patchlevel.h").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    stated = _MINOR.search(text)
    return stated[1] if stated and (directory / "Python.h").is_file() else None


def missing_text(missing: Sequence[str], found: Mapping[str, Path]) -> str:
    """Say which headers are missing, and how to supply them."""
    there = ", ".join(f"{minor} in {path}" for minor, path in sorted(found.items())) or "none"
    return (
        f"no headers (Python.h) of CPython {', '.join(missing)}; found: {there}. Looked in {', '.join(PLACES)}. "
        "Name the prefix of a further interpreter, the directory with include/python3.N, by --python; pyenv, uv and "
        "the distribution's python3.N-dev bring headers"
    )


def copy(directory: Path, target: Path) -> Path:
    """Copy the headers of one version to a directory of their own, and return it.

    The compiler gets this and nothing else: with all of /usr/include it would take the host's libc. Debian's
    `pyconfig.h` includes another one, below the name of the architecture.
    """
    shutil.copytree(directory, target)
    config = (directory / "pyconfig.h").read_text(encoding="utf-8", errors="replace")
    for family in sorted(set(_FAMILY.findall(config)) & {"x86_64-linux-gnu"}):
        inner = directory.parent / family / directory.name
        shutil.copytree(inner, target / family / directory.name)
    return target


def _matches(place: str) -> list[Path]:
    # Newest first: of several releases of one version, the last.
    path = Path(place).expanduser()
    if "*" not in place:
        return [path]
    return sorted(path.parent.glob(path.name), key=_numbers, reverse=True)


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", path.name))
