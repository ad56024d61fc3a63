"""The wheels that are handed out: the program, what it runs with, and pymilter for each CPython."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distribution import symbols
from distribution.archive import sha256
from distribution.errors import CannotPackage
from distribution.headers import MINORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distribution.commit import Commit

PINS: Final = Path(__file__).parent
INSTALLER: Final = "pip"
PLATFORM: Final = "manylinux_2_28_x86_64"
"""The hosts, in the name of a wheel (PEP 600)."""


def fetch(pins: str, target: Path, *, source: bool = False, minor: str | None = None) -> list[Path]:
    """Download what a file of this directory pins, each by its hash, and nothing else.

    Args:
        pins: name of the file.
        target: where the files go.
        source: whether source archives are wanted, not wheels.
        minor: the version of CPython, where it is another one's wheels that are wanted.

    Raises:
        CannotPackage: something cannot be had, or is not what it was.
    """
    before = set(target.iterdir())
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--requirement", str(PINS / pins), "--dest", str(target)]
    command += ["--no-binary=:all:"] if source else ["--only-binary=:all:"]
    if minor is not None:
        command += host_options(minor)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotPackage(f"pip could not download what {pins} pins:\n{done.stderr.strip()}")
    return sorted(set(target.iterdir()) - before)


def host_options(minor: str) -> list[str]:
    """Return pip's options for hosts with a version of CPython, whatever this one is."""
    platforms = (PLATFORM, "manylinux_2_17_x86_64", "manylinux2014_x86_64")
    return ["--python-version", minor, "--implementation", "cp", *(f"--platform={name}" for name in platforms)]


def verify(wheels: Path, scratch: Path) -> None:
    """Have pip put everything together for each CPython, from these wheels alone, and read what is compiled.

    Args:
        wheels: a directory with the program's wheel and those that it runs with.
        scratch: an empty directory.

    Raises:
        CannotPackage: something that the program runs with is missing, or asks too much of a host.
    """
    for minor in MINORS:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        command += ["--no-index", "--find-links", str(wheels), "--only-binary=:all:", "--target", str(scratch / minor)]
        done = subprocess.run(
            [*command, *host_options(minor), "ldapmilter"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CannotPackage(f"the wheels are not all that CPython {minor} needs:\n{done.stderr.strip()}")
        for module in sorted((scratch / minor).rglob("*.so")):
            symbols.verify(module)


def program(commit: Commit, target: Path) -> Path:
    """Build the wheel of the program itself, and return it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target.resolve())]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(commit.epoch)}
    done = subprocess.run(command, cwd=commit.tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotPackage(f"the wheel of the program could not be built:\n{done.stderr.strip()}")
    return target / f"ldapmilter-{commit.version}-py3-none-any.whl"


def requirements(wheels: Iterable[Path]) -> str:
    """Return the constraints of a bundle: every wheel by name, version and hashes, but for the installer itself.

    A project with several wheels (one for each CPython) has a hash of each.
    """
    hashes: dict[tuple[str, str], list[str]] = {}
    for wheel in sorted(wheels, key=lambda wheel: wheel.name.lower()):
        name, version = wheel.name.split("-")[:2]
        if name != INSTALLER:
            hashes.setdefault((name.replace("_", "-").lower(), version), []).append(sha256(wheel))
    lines = ["# Every wheel here, by its hash: pip takes these and no others.\n"]
    for (name, version), known in hashes.items():
        lines.append(" \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{value}" for value in known)]) + "\n")
    return "".join(lines)


def fill(bundle: Path, wheels: Iterable[Path]) -> None:
    """Put the wheels and their constraints into a bundle's directory."""
    place = bundle / "wheels"
    place.mkdir()
    for wheel in wheels:
        shutil.copy(wheel, place)
    (place / "requirements.txt").write_text(requirements(place.glob("*.whl")), encoding="ascii")
