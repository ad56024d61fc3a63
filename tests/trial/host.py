"""The guide's site on the host that this runs on, which has to be a trial's own: paths, user and modes are real.

What stands in for a host's own commands is as in tests/e2e/test_admin_guide.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from tests.e2e.test_admin_guide import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path("/")
TRIAL: Final = Path("/root/trial")
DEB: Final = "ldapmilter_*_amd64.deb"
RPM: Final = "ldapmilter-*.x86_64.rpm"
BUNDLE: Final = "ldapmilter-*-linux-x86_64.tar.gz"
TRANSCRIPT: Final = TRIAL / "transcript.txt"
CREDENTIALS: Final = Path("/run/credentials/ldapmilter.service")
# What a removal keeps: configuration, and what the program has written.
KEPT: Final = ("etc/ldapmilter", "etc/logrotate.d/ldapmilter", "var/log/ldapmilter", "var/lib/ldapmilter")
# Of the kernel, of the test, and what dpkg and adduser write of every package.
ELSEWHERE: Final = frozenset({"proc", "sys", "dev", "tmp", "root", "run", "admin"})
OTHERS: Final = ("var/lib/dpkg", "var/log/dpkg.log", "var/log/alternatives.log", "var/cache", "var/tmp")


def package(pattern: str, place: str = "made") -> Path:
    """Return what scripts/package has made, of this version or (`older`) of the one before."""
    (one,) = (TRIAL / place).glob(pattern)
    return one


class Host(Site):
    """The guide's site on a host of a trial's own, and a transcript of it."""

    def __init__(self) -> None:
        super().__init__(ROOT)

    def run(self, command: str) -> tuple[int, str]:
        """Run a line and take it down."""
        began = time.monotonic()
        status, output = super().run(command)
        take_down(command, output, f"{status}, {time.monotonic() - began:.1f} s")
        return status, output

    def done(self, command: str) -> None:
        """Run a line that has to succeed."""
        status, output = self.run(command)
        assert status == 0, output

    def begin(self, command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start the daemon as systemd does: as its user, in its groups, with its credential."""
        shutil.rmtree(CREDENTIALS, ignore_errors=True)
        CREDENTIALS.mkdir(parents=True)
        shutil.copy("/etc/ldapmilter/ldap.secret", CREDENTIALS)
        for path in (CREDENTIALS, CREDENTIALS / "ldap.secret", ROOT / "run/ldapmilter"):
            shutil.chown(path, "ldapmilter", "ldapmilter")
        as_user = ["setpriv", "--reuid=ldapmilter", "--regid=ldapmilter", "--init-groups", "--no-new-privs"]
        environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(CREDENTIALS)}
        return subprocess.Popen([*as_user, *command], stdout=log, stderr=log, cwd="/", env=environment)

    def left(self) -> list[str]:
        """Nothing: what is left is looked at when the program is removed."""
        return []


def take_down(command: str, output: str, status: str) -> None:
    """Write a command and what it said into the transcript."""
    with TRANSCRIPT.open("a", encoding="utf-8") as transcript:
        transcript.write(f"$ {command}\n{output}[status {status}]\n\n")


def done(*command: str | Path, status: int = 0) -> str:
    """Run a command without a terminal, take it down, and return what it says; it has to end with that status."""
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    take_down(" ".join(map(str, command)), run.stdout, str(run.returncode))
    assert run.returncode == status, run.stdout
    return run.stdout


def there() -> Iterator[str]:
    """Yield what there is on this host, files and directories, but for what is nobody's or everybody's."""
    for directory, names, files in os.walk(ROOT):
        below = Path(directory).relative_to(ROOT)
        if below == Path():
            names[:] = [name for name in names if name not in ELSEWHERE]
        for name in names + files:
            path = str(below / name)
            # adduser keeps /etc/passwd- and the like; Python compiles its own library for whoever runs it first.
            if not path.startswith(OTHERS) and not path.endswith("-") and "usr/lib/python3" not in path:
                yield path


def assert_bare() -> None:
    """A trial's own host, without network and compiler."""
    assert TRIAL.is_dir(), "only in a root that scripts/try-package has made"
    # Nothing but the loopback device: whatever wants the network fails.
    devices = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert shutil.which("cc") is None
