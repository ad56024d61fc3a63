"""The command line as another user runs it: a copy of the program that any user can reach and run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PACKAGES: Final = ("ldapmilter", "cachetools", "ldap3", "msgspec", "pyasn1")
# The interpreter of the tests may lie in a home directory that others cannot enter.
_PYTHONS: Final = (sys.executable, "/usr/bin/python3")


class OtherUser:
    """A user who is neither root nor the daemon's, with groups of choice."""

    def __init__(self, folder: Path, name: str, groups: Sequence[int] = ()) -> None:
        """Copy the program into a folder that anybody may enter.

        Args:
            folder: where to.
            name: the user, whose own group he has.
            groups: the groups that he is a member of besides.
        """
        self._name = name
        self._groups = tuple(groups)
        self._folder = folder / "program"
        for package in _PACKAGES:
            spec = importlib.util.find_spec(package)
            assert spec is not None
            assert spec.submodule_search_locations is not None
            (source,) = spec.submodule_search_locations
            shutil.copytree(source, self._folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True, timeout=HANG)
        self._python = next(
            one for one in _PYTHONS if self._run(one, "-c", "import encodings, msgspec").returncode == 0
        )

    def cli(self, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return self._run(self._python, "-m", "ldapmilter", "--config", str(config), *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        # By way of a shell: setpriv itself still has root's capabilities when it executes a command.
        groups = ",".join(map(str, self._groups))
        who = ["setpriv", f"--reuid={self._name}", f"--regid={self._name}"]
        who.append(f"--groups={groups}" if groups else "--clear-groups")
        return subprocess.run(
            [*who, "sh", "-c", 'exec "$@"', "sh", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=HANG,
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )
