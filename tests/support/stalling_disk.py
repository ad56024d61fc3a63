"""A disk that stops answering on request, for a process that runs under :attr:`StallingDisk.under`."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

_SOURCE = Path(__file__).with_name("stalling_disk.c")


class StallingDisk:
    """System calls on the audit file that do not return for as long as a test wants."""

    def __init__(self) -> None:
        """Build the library that stands between a process and the C library."""
        self._folder = Path(tempfile.mkdtemp(prefix="stall-"))
        self._folder.chmod(0o755)
        library = self._folder / "stall.so"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, _SOURCE, "-ldl"],
            check=True,
            timeout=120,
        )
        self.under = ("env", f"LD_PRELOAD={library}", f"STALL={self._folder}")
        """What to start a process by."""

    @contextlib.contextmanager
    def stalled(self, *calls: str) -> Iterator[None]:
        """Let system calls (``open``, ``write``, ``fdatasync``) on the audit file not return meanwhile."""
        flags = [self._folder / call for call in calls]
        for flag in flags:
            flag.touch()
        try:
            yield
        finally:
            for flag in flags:
                flag.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the library; nobody is stalled any more."""
        shutil.rmtree(self._folder, ignore_errors=True)
