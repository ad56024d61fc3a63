"""What is packaged: one commit, as git has it, whatever else lies in the clone."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from distribution.errors import CannotPackage

if TYPE_CHECKING:
    from pathlib import Path

_VERSION: Final = re.compile(r'^__version__ = "([0-9]+\.[0-9]+\.[0-9]+)"$', re.MULTILINE)

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit that is packaged.

    Attributes:
        name: its hash.
        epoch: when it was committed, in seconds since 1970; every file of every package has this time.
        version: of the program.
        author: name and address of who made it.
        tree: a directory with its files, and no others.
    """

    name: str
    epoch: int
    version: str
    author: str
    tree: Path

    def rfc_time(self) -> str:
        """Return its time as changelogs of Debian have it (RFC 5322, 3.3)."""
        return format_datetime(datetime.fromtimestamp(self.epoch, timezone.utc))

    def rpm_date(self) -> str:
        """Return its day as changelogs of RPM have it: `Sat Nov 28 2026`."""
        day = datetime.fromtimestamp(self.epoch, timezone.utc)
        # Not by strftime, whose names are those of the locale.
        return f"{_DAYS[day.weekday()]} {_MONTHS[day.month - 1]} {day.day:02} {day.year}"


def export(clone: Path, tree: Path) -> Commit:
    """Write the files of the clone's HEAD into a new directory.

    Raises:
        CannotPackage: this is no clone, or its version cannot be read.
    """
    name = _git(clone, "rev-parse", "HEAD").decode("ascii").strip()
    epoch = int(_git(clone, "show", "--no-patch", "--format=%ct", name))
    author = _git(clone, "show", "--no-patch", "--format=%an <%ae>", name).decode("utf-8").strip()
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=_git(clone, "archive", "--format=tar", name), check=True)
    version = version_of(tree / "ldapmilter" / "__init__.py")
    return Commit(name=name, epoch=epoch, version=version, author=author, tree=tree)


def is_changed(clone: Path) -> bool:
    """Whether files differ from what is committed."""
    return bool(_git(clone, "status", "--porcelain", "--untracked-files=no").strip())


def version_of(module: Path) -> str:
    """Return the version that a module's text names.

    Raises:
        CannotPackage: it names none of the form 1.2.3.
    """
    found = _VERSION.search(module.read_text(encoding="utf-8"))
    if found is None:
        raise CannotPackage(f"{module} has no line __version__ of the form 1.2.3")
    return found[1]


def _git(clone: Path, *arguments: str) -> bytes:
    # A clone may belong to somebody else than root, who packages it.
    command = ["git", "-c", f"safe.directory={clone}", "-C", str(clone), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CannotPackage(f"{clone} has to be a clone with git: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
