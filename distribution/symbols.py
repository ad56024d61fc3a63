"""What a shared object asks of the host: read with readelf(1), judged here."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distribution.errors import CannotPackage

if TYPE_CHECKING:
    from pathlib import Path

NEWEST_GLIBC: Final = (2, 28)
"""RHEL 8 has glibc 2.28; Ubuntu 22.04 and RHEL 9 have newer ones."""

LIBRARIES: Final = frozenset({"libc.so.6", "libm.so.6", "libpthread.so.0"})
"""The libraries that it may need, all of them glibc's. libmilter is not among them: it is linked in."""

_NEEDED: Final = re.compile(r"\(NEEDED\)\s+Shared library: \[(.+?)\]")
_SYMBOL: Final = re.compile(
    r"^ *\d+: [0-9a-f]+ +\d+ \S+ +(\S+) +\S+ +(\S+) +(\S+)",  # number, value, size, type, bind, visibility, index, name
    re.MULTILINE,
)
_GLIBC: Final = re.compile(r"GLIBC_([0-9]+(?:\.[0-9]+)+)$")
_INTERPRETER: Final = re.compile(r"_?Py[A-Z_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a shared object asks for.

    Attributes:
        libraries: by their names.
        symbols: undefined ones, with their version where they have one: `fork@GLIBC_2.2.5`.
        weak: those of them that may stay undefined.
    """

    libraries: frozenset[str]
    symbols: frozenset[str]
    weak: frozenset[str]

    def newest_glibc(self) -> tuple[int, ...]:
        """Return the newest version of glibc that a symbol asks for; (0,) when none does."""
        return max((glibc for symbol in self.symbols if (glibc := _glibc(symbol))), default=(0,))

    def faults(self) -> list[str]:
        """Say what the hosts that it is for could not give it; nothing when all is well."""
        found = [f"needs {library}" for library in sorted(self.libraries - LIBRARIES)]
        for symbol in sorted(self.symbols):
            glibc = _glibc(symbol)
            if glibc is not None and glibc > NEWEST_GLIBC:
                found.append(f"needs {symbol}, newer than glibc {'.'.join(map(str, NEWEST_GLIBC))}")
            # Without a version it is nobody's: the linker of a shared object says nothing, the host's loader would.
            elif glibc is None and symbol not in self.weak and not _INTERPRETER.match(symbol):
                found.append(f"needs {symbol}, which no library of an older host defines")
        return found


def demands(dynamic: str, symbols: str) -> Demands:
    """Return what the output of `readelf --dynamic` and `readelf --dyn-syms`, both `--wide`, says."""
    undefined = [(bind, name) for bind, index, name in _SYMBOL.findall(symbols) if index == "UND"]
    return Demands(
        libraries=frozenset(_NEEDED.findall(dynamic)),
        symbols=frozenset(name for _, name in undefined),
        weak=frozenset(name for bind, name in undefined if bind == "WEAK"),
    )


def verify(path: Path) -> Demands:
    """Read what a shared object asks for.

    Raises:
        CannotPackage: hosts that it is for could not give it that.
    """
    read = [
        subprocess.run(["readelf", "--wide", option, str(path)], check=True, capture_output=True, text=True).stdout
        for option in ("--dynamic", "--dyn-syms")
    ]
    found = demands(*read)
    if faults := found.faults():
        raise CannotPackage(f"{path.name}: {'; '.join(faults)}")
    return found


def _glibc(symbol: str) -> tuple[int, ...] | None:
    version = _GLIBC.search(symbol)
    return tuple(map(int, version[1].split("."))) if version else None
