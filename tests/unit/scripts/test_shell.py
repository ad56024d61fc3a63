"""What a shell script can be told without running it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import HANG

SCRIPTS: Final = Path(__file__).resolve().parents[3] / "scripts"
# Parts that are sourced are checked with what sources them.
SHELL: Final = sorted(
    path
    for path in SCRIPTS.iterdir()
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith("#!/usr/bin/env bash")
)

OTHER_FORMS: Final = {"--ldif", "--acl", "--bind-account", "--install", "--cn-config"}


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    command = ["shellcheck", "--external-sources", "--check-sourced", str(path.relative_to(SCRIPTS.parent))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=SCRIPTS.parent)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["register", "unregister", "install", "uninstall"])
def test_the_help_names_every_option(name: str) -> None:
    script = SCRIPTS / name
    told = subprocess.run([script, "--help"], check=True, capture_output=True, text=True, timeout=HANG).stdout
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


MISSPELT: Final = [
    ("install", "--servce", "no option --servce; did you mean --service?"),
    ("install", "--uri=ldap://ldap1", "no option --uri; did you mean --ldap-uri?"),
    ("install", "--service=upstart", "--service is systemd, supervisor or none, not 'upstart'"),
    (
        "install",
        "everything",
        "no option everything; there is --bundle, --dry-run, --help, --ldap-ca, --ldap-uri,",
    ),
    ("uninstall", "--dry", "no option --dry; did you mean --dry-run?"),
    ("uninstall", "-x", "no option -x; there is --dry-run, --force, --help, --prefix, --purge, --root "),
    ("register", "--enable-milter", "no option --enable-milter; did you mean --enable-milter-server?"),
    ("register", "--wait=soon", "--wait takes a number of seconds, not 'soon'"),
    ("unregister", "--objectclass", "no option --objectclass; did you mean --object-class?"),
    ("unregister", "--last", "no option --last; there is --disable-milter-server, --dry-run, "),
    ("install-schema", "--urii=ldap://ldap1", "no option --urii; did you mean --uri?"),
    ("install-schema", "--force", "no option --force; there is --config, --dry-run, --help, --localconfig,"),
    ("install-schema", "--config", "--config needs a file"),
]


@pytest.mark.parametrize(("name", "argument", "said"), MISSPELT)
def test_an_option_that_does_not_exist_is_told_with_the_one_that_was_meant(name: str, argument: str, said: str) -> None:
    done = subprocess.run([SCRIPTS / name, argument], check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{name}: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_the_help_of_install_schema_names_what_the_verb_takes_and_nothing_else() -> None:
    script = str(SCRIPTS / "install-schema")
    commands = ([script, "--help"], [sys.executable, "-m", "ldapmilter", "schema", "--help"])
    own, verb = (
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG).stdout for command in commands
    )
    taken = set(re.findall(r"^  (--[a-z-]+)", verb, re.MULTILINE)) - OTHER_FORMS
    assert {"--dry-run", "--uri", "--remove"} < taken
    assert set(re.findall(r"^  (--[a-z-]+)", own, re.MULTILINE)) == taken | {"--config"}
    done = subprocess.run([script, "--acl"], check=False, capture_output=True, timeout=HANG)
    assert (done.returncode, b"no option --acl" in done.stderr) == (2, True)
