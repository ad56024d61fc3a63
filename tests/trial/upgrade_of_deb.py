"""An upgrade by the .deb from one version to another, and the way back, on the host that this runs on.

`scripts/try-package --older` runs it in a root of its own, without network; a run of the whole suite
does not collect it.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Final

from tests.trial.guide_from_deb import KEPT

TRANSCRIPT: Final = Path("/root/trial/transcript.txt")
PROGRAM: Final = Path("/opt/ldapmilter")
CONFIG: Final = Path("/etc/ldapmilter/config.ini")
# What an administrator, the daemon and the relay have written by the time of an upgrade.
WRITTEN: Final = {
    Path("/etc/ldapmilter/ca.pem"): "theirs\n",
    Path("/etc/logrotate.d/ldapmilter"): "# theirs\n",
    Path("/var/log/ldapmilter/audit.jsonl"): "{}\n",
    Path("/var/lib/ldapmilter/relay.state"): "state\n",
}


def done(*command: str | Path, status: int = 0) -> str:
    """Run a command without a terminal, take it down, and return what it says."""
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    with TRANSCRIPT.open("a", encoding="utf-8") as transcript:
        transcript.write(f"$ {' '.join(map(str, command))}\n{run.stdout}[status {run.returncode}]\n\n")
    assert run.returncode == status, run.stdout
    return run.stdout


def version(package: Path) -> str:
    return done("dpkg-deb", "--field", package, "Version").strip()


def kept() -> dict[str, tuple[int, int, int, bytes]]:
    """Return mode, owner, group and content of all that is the host's."""
    tops = [Path("/", name) for name in KEPT]
    found = {}
    for path in tops + [below for top in tops for below in top.rglob("*")]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path)] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


def assert_installed(package: Path) -> None:
    whole = version(package)
    state = done("dpkg-query", "--show", "--showformat=${Status} ${Version}", "ldapmilter")
    assert state == f"install ok installed {whole}"
    assert done("ldapmilter", "--version").split()[1] == whole.rpartition("-")[0]
    # Of every module there is the bytecode, and nothing lies there that the package has not brought.
    brought = set(done("dpkg-query", "--listfiles", "ldapmilter").splitlines())
    modules = PROGRAM / "lib/python3/site-packages/ldapmilter"
    assert len(list(modules.rglob("*.pyc"))) == len(list(modules.rglob("*.py"))) > 100
    there = [path for path in PROGRAM.rglob("*") if "__pycache__" not in path.parts]
    assert [path for path in there if str(path) not in brought] == []


def test_an_upgrade_keeps_what_is_the_hosts_and_a_downgrade_is_refused() -> None:
    assert Path("/root/trial").is_dir(), "only in a root that scripts/try-package has made"
    older, newer = Path(os.environ["LDAPMILTER_OLDER"]), Path(os.environ["LDAPMILTER_PACKAGE"])
    done("dpkg", "--install", older)
    assert_installed(older)
    for path, text in WRITTEN.items():
        path.write_text(text, encoding="ascii")
    CONFIG.write_text(CONFIG.read_text(encoding="utf-8") + "# theirs\n", encoding="utf-8")
    before = kept()

    # As apt does where nobody is asked; dpkg asks only where the rotation has changed on both sides.
    done("dpkg", "--force-confdef", "--force-confold", "--install", newer)
    assert_installed(newer)
    after = kept()
    after.pop("/etc/logrotate.d/ldapmilter.dpkg-dist", None)
    assert after == before

    refusal = done("dpkg", "--install", older, status=1)
    assert f"version {version(newer)} is installed, and {version(older)} is older" in refusal
    assert_installed(newer)
    assert kept() == before

    # The way back that the refusal names.
    done("dpkg", "--remove", "ldapmilter")
    assert kept() == before
    done("dpkg", "--install", older)
    assert_installed(older)
    assert kept() == before
    done("dpkg", "--purge", "ldapmilter")
    assert not [name for name in KEPT if Path("/", name).exists()]
    assert not PROGRAM.exists()
