"""What the trials of an upgrade have in common: what there is before it, and has to be there after it.

`scripts/try-package --older` runs them in a root of its own, without network; a run of the whole suite does not
collect them.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.trial.host import KEPT, done

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM: Final = Path("/opt/ldapmilter")
CONFIG: Final = Path("/etc/ldapmilter/config.ini")
ROTATION: Final = Path("/etc/logrotate.d/ldapmilter")
# What an administrator, the daemon and the relay have written by the time of an upgrade.
_WRITTEN: Final = {
    Path("/etc/ldapmilter/ca.pem"): "theirs\n",
    ROTATION: "# theirs\n",
    Path("/var/log/ldapmilter/audit.jsonl"): "{}\n",
    Path("/var/lib/ldapmilter/relay.state"): "state\n",
}


def write() -> None:
    """Write what an administrator, the daemon and the relay write."""
    for path, text in _WRITTEN.items():
        path.write_text(text, encoding="ascii")
    CONFIG.write_text(CONFIG.read_text(encoding="utf-8") + "# theirs\n", encoding="utf-8")


def kept() -> dict[str, tuple[int, int, int, bytes]]:
    """Return mode, owner, group and content of all that is the host's."""
    # Also what a package manager lays beside it.
    tops = [path for name in KEPT for path in Path("/").glob(f"{name}*")]
    found = {}
    for path in tops + [below for top in tops for below in top.rglob("*")]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path)] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


def assert_whole(version: str, brought: Iterable[str]) -> None:
    """It runs; of every module there is the bytecode, and nothing lies there that the package has not brought."""
    assert done("ldapmilter", "--version") == f"ldapmilter {version}\n"
    modules = PROGRAM / "lib/python3/site-packages/ldapmilter"
    assert len(list(modules.rglob("*.pyc"))) == len(list(modules.rglob("*.py"))) > 100
    there = {str(path) for path in PROGRAM.rglob("*") if "__pycache__" not in path.parts}
    assert there - set(brought) == set()
