"""What `scripts/install` lays out, below a directory of a test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"


def run(script: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `install` or `uninstall` to its end."""
    command = [str(SCRIPTS / script), "--root", str(root), *arguments]
    if script == "install":
        command += ["--python", sys.executable]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def files(root: Path) -> dict[str, str]:
    """Return what lies below a directory with its mode, but for the insides of the virtual environment."""
    inside = {"lib", "lib64", "include", "bin"}
    return {
        str(path.relative_to(root)): oct(path.lstat().st_mode & 0o7777)
        for path in sorted(root.rglob("*"))
        if not (path.parts[len(root.parts) :][:2] == ("opt", "ldapmilter") and inside & set(path.parts))
    }
