"""pymilter as wheels: compiled for old and new hosts alike, with libmilter linked in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distribution import headers, symbols
from distribution.errors import CannotPackage
from distribution.wheelhouse import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGET: Final = "x86_64-linux-gnu.2.28"
"""Zig's name of the hosts: x86_64, glibc from 2.28 on."""

_LIBMILTER: Final = Path("/usr/include/libmilter")
_ARCHIVES: Final = ("/usr/lib/x86_64-linux-gnu/libmilter.a", "/usr/lib/libmilter/libmilter.a", "/usr/lib64/libmilter.a")
# As in pymilter's setup.py.
_DEFINES: Final = ("-DMAX_ML_REPLY=32", "-Werror=implicit-function-declaration")


def make_wheels(source: Path, pythons: Mapping[str, Path], scratch: Path, target: Path, epoch: int) -> list[Path]:
    """Make one wheel for each version of CPython.

    Args:
        source: pymilter's source archive.
        pythons: directories with headers, by version.
        scratch: an empty directory.
        target: where the wheels go.
        epoch: the time of the files in them.

    Raises:
        CannotPackage: libmilter is missing, the compiler refuses something, or what it makes asks too much of a host.
    """
    subprocess.run(["tar", "-xf", str(source), "-C", str(scratch)], check=True)
    (tree,) = scratch.glob("pymilter-*")
    include, library = libmilter(scratch / "libmilter")
    made = []
    for minor, place in sorted(pythons.items()):
        tag = f"cp{minor.replace('.', '')}"
        own = headers.copy(place, scratch / tag / "include")
        shared = scratch / tag / f"milter.cpython-{tag[2:]}-x86_64-linux-gnu.so"
        compile_module(tree / "miltermodule.c", shared, (own, include), library)
        asked = symbols.verify(shared)
        print(f"  {shared.name}: nothing newer than glibc {'.'.join(map(str, asked.newest_glibc()))}")
        wheel = lay_out(tree, shared, scratch / tag / "wheel", f"{tag}-{tag}-{PLATFORM}")
        made.append(pack(wheel, target, epoch))
    return made


def libmilter(target: Path) -> tuple[Path, Path]:
    """Copy libmilter's headers to a directory of their own; return it and the static library.

    Raises:
        CannotPackage: it is not installed.
    """
    library = next((Path(path) for path in _ARCHIVES if Path(path).is_file()), None)
    if library is None or not (_LIBMILTER / "mfapi.h").is_file():
        raise CannotPackage("libmilter.a or libmilter/mfapi.h is missing: apt-get install libmilter-dev")
    shutil.copytree(_LIBMILTER, target / "libmilter")
    return target, library


def compile_module(source: Path, shared: Path, includes: tuple[Path, ...], library: Path) -> None:
    """Compile and link one extension module; the same input makes the same octets.

    Raises:
        CannotPackage: the compiler refuses it.
    """
    # Relative to the source: no path of this machine gets into the object.
    command = [sys.executable, "-m", "ziglang", "cc", "-target", TARGET, "-shared", "-fPIC", "-O2", "-g0", "-s"]
    command += ["-fwrapv", "-DNDEBUG", "-Wl,--build-id=none", "-Wl,-z,relro,-z,now"]
    command += [*_DEFINES, *(f"-isystem{include}" for include in includes)]
    command += ["-o", str(shared), source.name, str(library)]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotPackage(f"{shared.name} could not be compiled:\n{done.stderr.strip()}")
    # The loader looks for no other name.
    shared.chmod(0o755)


def lay_out(tree: Path, shared: Path, target: Path, tag: str) -> Path:
    """Lay out the contents of a wheel (PEP 427) and return its directory."""
    target.mkdir()
    shutil.copytree(tree / "Milter", target / "Milter")
    shutil.copy(tree / "mime.py", target)
    shutil.copy(shared, target)
    (information,) = tree.glob("PKG-INFO")
    version = tree.name.removeprefix("pymilter-")
    info = target / f"pymilter-{version}.dist-info"
    info.mkdir()
    shutil.copy(information, info / "METADATA")
    shutil.copy(tree / "COPYING", info)
    shutil.copy(Path(__file__).with_name("LICENSE.libmilter"), info)
    (info / "top_level.txt").write_text("Milter\nmilter\nmime\n", encoding="ascii")
    lines = ("Wheel-Version: 1.0", "Generator: ldapmilter", "Root-Is-Purelib: false", f"Tag: {tag}")
    (info / "WHEEL").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return target


def pack(directory: Path, target: Path, epoch: int) -> Path:
    """Pack a directory as a wheel, with its RECORD, and return its path."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(0o755 if path.suffix == ".so" else 0o644)
    before = set(target.glob("*.whl"))
    command = [sys.executable, "-m", "wheel", "pack", "--dest-dir", str(target), str(directory)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (made,) = set(target.glob("*.whl")) - before
    return made
