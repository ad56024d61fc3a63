"""`python -m distribution`: everything that is handed out, made of one commit. `scripts/package` calls it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distribution import bundle, deb, headers, milter_module, rpm, wheelhouse
from distribution.archive import sums
from distribution.commit import Commit, export, is_changed
from distribution.errors import CannotPackage

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = {
    "readelf": "binutils",
    "dpkg-deb": "dpkg",
    "rpmbuild": "rpm",
    "git": "git",
    "tar": "tar",
    "xz": "xz-utils",
}
_MEGABYTE: Final = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the packages; 0 when they are there, 2 when something is missing or not as it has to be."""
    parser = argparse.ArgumentParser(prog="scripts/package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where to (default: dist)")
    parser.add_argument("--python", type=Path, action="append", default=[], metavar="PREFIX", help="with headers")
    parser.add_argument("--maintainer", default="", metavar="WHO", help="name and address")
    asked = parser.parse_args(arguments)
    # Below the system's temporary directory: paths in a clone may hold anything.
    with tempfile.TemporaryDirectory(prefix="ldapmilter-package-") as directory:
        try:
            make(Path(directory), asked.output.resolve(), asked.python, asked.maintainer)
        except CannotPackage as error:
            print(f"package: {error}", file=sys.stderr)
            return 2
    return 0


def make(scratch: Path, output: Path, prefixes: Sequence[Path], maintainer: str) -> None:
    """Make everything below a directory, and bring it to its place when all of it is there.

    Raises:
        CannotPackage: something is missing, or not as it has to be.
    """
    began = time.monotonic()
    if missing := sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None}):
        raise CannotPackage(f"missing: apt-get install {' '.join(missing)}")
    pythons = headers.find(prefixes)
    commit = export(ROOT, scratch / "commit")
    if is_changed(ROOT):
        print("note: files differ from what is committed; what is packaged is the commit")
    print(f"ldapmilter {commit.version}, commit {commit.name[:12]}")
    for minor, place in sorted(pythons.items()):
        print(f"  headers of CPython {minor}: {place}")
    made = packages(commit, pythons, maintainer or commit.author, scratch)
    output.mkdir(parents=True, exist_ok=True)
    listed = [Path(shutil.copy(path, output)) for path in made]
    (output / "SHA256SUMS").write_text(sums(listed), encoding="ascii")
    for path in listed:
        print(f"{path.stat().st_size / _MEGABYTE:7.1f} MB  {path.name}")
    print(f"in {output}, {time.monotonic() - began:.0f} s")


def packages(commit: Commit, pythons: dict[str, Path], maintainer: str, scratch: Path) -> list[Path]:
    """Make the wheels of pymilter, the bundle, the .deb and the .rpm, and return them."""
    places = {
        name: scratch / name for name in ("source", "milter", "wheels", "together", "installer", "made", "bundle")
    }
    for place in places.values():
        place.mkdir()
    print("wheels")
    (source,) = wheelhouse.fetch("pymilter.txt", places["source"], source=True)
    compiled = milter_module.make_wheels(source, pythons, places["milter"], places["wheels"], commit.epoch)
    wheelhouse.fetch("runtime.txt", places["wheels"])
    for minor in headers.MINORS:
        wheelhouse.fetch("compiled.txt", places["wheels"], minor=minor)
    wheelhouse.program(commit, places["wheels"])
    wheelhouse.verify(places["wheels"], places["together"])
    every = sorted(places["wheels"].iterdir())
    installer = wheelhouse.fetch("installer.txt", places["installer"])
    print("bundle")
    made = [bundle.make(commit, [*every, *installer], places["bundle"], places["made"])]
    print("deb")
    made.append(deb.make(commit, every, maintainer, scratch, places["made"]))
    print("rpm")
    made.append(rpm.make(commit, every, maintainer, scratch, places["made"]))
    return [*made, *compiled]


if __name__ == "__main__":
    sys.exit(main())
