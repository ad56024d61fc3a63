"""What a shell script can be told without running it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

SCRIPTS: Final = Path(__file__).resolve().parents[3] / "scripts"
# Parts that are sourced are checked with what sources them.
SHELL: Final = sorted(
    path
    for path in SCRIPTS.iterdir()
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith("#!/usr/bin/env bash")
)


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    command = ["shellcheck", "--external-sources", "--check-sourced", str(path.relative_to(SCRIPTS.parent))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=SCRIPTS.parent)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["register", "unregister", "install", "uninstall"])
def test_the_help_names_every_option(name: str) -> None:
    script = SCRIPTS / name
    told = subprocess.run([script, "--help"], check=True, capture_output=True, text=True, timeout=30).stdout
    options = {
        word
        for line in script.read_text(encoding="utf-8").splitlines()
        if line.startswith("    -")
        for word in line.partition(")")[0].replace("|", " ").split()
        if word.startswith("--")
    }
    assert len(options) > 5
    for option in options - {"--help"}:
        assert option in told
