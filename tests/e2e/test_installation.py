"""scripts/install and scripts/uninstall, below a directory of the test's own, with a real virtual environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldapmilter import __version__
from ldapmilter.config import load
from tests.support.installed import SCRIPTS, files, run
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator

URIS = "ldap://ldap1.example.com:389 ldap://ldap2.example.com:389"
PAGES = ("man1/ldapmilter.1", "man5/ldapmilter.ini.5", "man5/ldapmilter-attributes.5")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a whole installation for systemd; tests leave it as it is."""
    root = tmp_path_factory.mktemp("root")
    authority = root.parent / "ca.pem"
    authority.write_text("a certificate\n", encoding="ascii")
    done = run("install", root, "--service", "systemd", "--ldap-uri", URIS, "--ldap-ca", str(authority))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "nothing was started" in done.stdout
    return root


def ldapmilter(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "opt/ldapmilter/bin/ldapmilter"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG, cwd="/")


def test_a_server_without_a_scheme_is_refused_at_once(tmp_path: Path) -> None:
    servers = "ldap://a.test ldap1.test"
    command = [str(SCRIPTS / "install"), "--dry-run", "--root", str(tmp_path), "--ldap-uri", servers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 2
    assert "ldap1.test has no scheme; write ldap://ldap1.test:389" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_program_works_where_it_was_put(installed: Path) -> None:
    assert ldapmilter(installed, "--version").stdout == f"ldapmilter {__version__}\n"
    schema = (SCRIPTS.parent / "schema" / "ldapmilter.ldif").read_text(encoding="utf-8")
    assert ldapmilter(installed, "schema", "--ldif").stdout.strip() == schema.strip()
    coverage = ldapmilter(installed, "coverage", "--help")
    assert (coverage.returncode, coverage.stdout.startswith("usage: ldapmilter coverage")) == (0, True)
    done = subprocess.run(
        [installed / "opt/ldapmilter/libexec/register", "--help"], check=False, capture_output=True, timeout=HANG
    )
    assert done.returncode == 0


def test_everything_has_its_mode(installed: Path) -> None:
    modes = files(installed)
    for path, mode in {
        "etc/ldapmilter": "0o755",
        "etc/ldapmilter/config.ini": "0o640",
        "etc/ldapmilter/ca.pem": "0o644",
        "etc/ldapmilter/ldap.secret": "0o600",
        "etc/logrotate.d/ldapmilter": "0o644",
        "etc/systemd/system/ldapmilter.service": "0o644",
        "var/log/ldapmilter": "0o700",
        "var/lib/ldapmilter": "0o700",
        **{f"usr/local/share/man/{page}": "0o644" for page in PAGES},
    }.items():
        assert modes[path] == mode, path
    assert (installed / "usr/local/bin/ldapmilter").readlink() == Path("/opt/ldapmilter/bin/ldapmilter")
    assert not [path for path in modes if path.endswith(".part")]


def test_the_new_configuration_is_one(installed: Path) -> None:
    config = load(installed / "etc/ldapmilter/config.ini")
    assert config.ldap.uris == tuple(URIS.split())
    # A bare name is a credential of systemd's, and lies beside the file for everybody else.
    assert config.ldap.bind_password_file == installed / "etc/ldapmilter/ldap.secret"
    assert len((installed / "etc/ldapmilter/ldap.secret").read_text(encoding="ascii").strip()) == 40


def test_again_nothing_of_yours_is_touched(installed: Path) -> None:
    config, unit = installed / "etc/ldapmilter/config.ini", installed / "etc/systemd/system/ldapmilter.service"
    secret = (installed / "etc/ldapmilter/ldap.secret").read_bytes()
    texts = {config: config.read_text(encoding="utf-8"), unit: unit.read_text(encoding="utf-8")}
    before = files(installed)
    try:
        config.write_text("[ldap]\nuri = ldap://mine\n", encoding="utf-8")
        unit.write_text("[Service]\nExecStart=/mine\n", encoding="utf-8")
        done = run("install", installed, "--service", "systemd", "--ldap-uri", URIS)
        assert (done.returncode, done.stderr) == (0, "")
        assert "kept      /etc/ldapmilter/config.ini" in done.stdout
        assert "kept      /etc/systemd/system/ldapmilter.service, which differs" in done.stdout
        assert "--ldap-uri and --ldap-ca are for a new config.ini" in done.stdout
        assert config.read_text(encoding="utf-8") == "[ldap]\nuri = ldap://mine\n"
        assert unit.read_text(encoding="utf-8") == "[Service]\nExecStart=/mine\n"
        assert (installed / "etc/ldapmilter/ldap.secret").read_bytes() == secret
        assert files(installed) == before
    finally:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("service", "there"),
    [
        ("systemd", "/etc/systemd/system/ldapmilter.service"),
        ("supervisor", "/etc/supervisor/conf.d/ldapmilter.conf"),
        ("none", "/run/ldapmilter/"),
    ],
)
def test_a_dry_run_tells_and_does_nothing(tmp_path: Path, service: str, there: str) -> None:
    done = run("install", tmp_path, "--service", service, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"would do  {there}" in done.stdout
    assert "done" not in done.stdout
    assert files(tmp_path) == {}


def test_removal_keeps_configuration_and_audit_unless_purged(tmp_path: Path) -> None:
    for path in ("opt/ldapmilter/pyvenv.cfg", "etc/ldapmilter/config.ini", "var/log/ldapmilter/audit.jsonl"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for path in ("etc/systemd/system", "etc/supervisor/conf.d", "etc/tmpfiles.d", "etc/logrotate.d", "run/ldapmilter"):
        (tmp_path / path).mkdir(parents=True)
    ours = ["etc/systemd/system/ldapmilter.service", "etc/supervisor/conf.d/ldapmilter.conf"]
    ours += ["etc/tmpfiles.d/ldapmilter.conf", "etc/logrotate.d/ldapmilter"]
    for path in [*ours, "etc/systemd/system/other.service"]:
        (tmp_path / path).touch()
    before = files(tmp_path)
    shown = run("uninstall", tmp_path, "--dry-run")
    assert (shown.returncode, files(tmp_path)) == (0, before)
    done = run("uninstall", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kept      /etc/ldapmilter (--purge removes it)" in done.stdout
    left = {path for path in files(tmp_path) if (tmp_path / path).is_file()}
    assert left == {
        "etc/ldapmilter/config.ini",
        "var/log/ldapmilter/audit.jsonl",
        "etc/systemd/system/other.service",
    }
    assert run("uninstall", tmp_path, "--purge").returncode == 0
    assert {path for path in files(tmp_path) if (tmp_path / path).is_file()} == {"etc/systemd/system/other.service"}
    assert run("uninstall", tmp_path, "--purge").returncode == 0


def test_what_postfix_still_asks_is_not_removed(tmp_path: Path) -> None:
    postconf = tmp_path / "opt/zimbra/common/sbin/postconf"
    postconf.parent.mkdir(parents=True)
    postconf.write_text("#!/bin/sh\necho inet:127.0.0.1:7026, inet:127.0.0.1:8800\n", encoding="ascii")
    postconf.chmod(0o755)
    config = tmp_path / "etc/ldapmilter/config.ini"
    config.parent.mkdir(parents=True)
    config.write_text("[milter]\nsocket = inet:127.0.0.1:8800 ; here\n[ldap]\nuri = ldap://a\n", encoding="ascii")
    (tmp_path / "opt/ldapmilter").mkdir()
    (tmp_path / "opt/ldapmilter/pyvenv.cfg").touch()
    before = files(tmp_path)
    done = run("uninstall", tmp_path, "--purge")
    assert (done.returncode, "Postfix still asks the milter" in done.stderr) == (1, True)
    assert files(tmp_path) == before
    assert run("uninstall", tmp_path, "--purge", "--force").returncode == 0
    assert not (tmp_path / "opt/ldapmilter").exists()


def test_nothing_is_removed_while_copies_are_routed_to_the_relay_or_kept_by_it(tmp_path: Path) -> None:
    postconf = tmp_path / "opt/zimbra/common/sbin/postconf"
    postconf.parent.mkdir(parents=True)
    table = "texthash:/opt/zimbra/conf/ldapmilter-relay"
    postconf.write_text(f'#!/bin/sh\n[ "$2" = transport_maps ] && echo {table}\n', encoding="ascii")
    postconf.chmod(0o755)
    (tmp_path / "opt/ldapmilter").mkdir(parents=True)
    (tmp_path / "opt/ldapmilter/pyvenv.cfg").touch()
    kept = tmp_path / "var/lib/ldapmilter/kept/new" / (48 * "0")
    kept.parent.mkdir(parents=True)
    kept.touch()
    done = run("uninstall", tmp_path)
    assert (done.returncode, "transport_maps names ldapmilter-relay" in done.stderr) == (1, True), done.stderr
    postconf.unlink()
    done = run("uninstall", tmp_path, "--purge")
    assert (done.returncode, "holds 1 copy that its archive has not taken" in done.stderr) == (1, True), done.stderr
    assert (tmp_path / "opt/ldapmilter").exists()
    assert run("uninstall", tmp_path).returncode == 0
    assert kept.exists()
    assert run("uninstall", tmp_path, "--purge", "--force").returncode == 0
    assert not kept.exists()


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("systemd", "systemctl reload ldapmilter.service"),
        ("supervisor", "supervisorctl signal HUP ldapmilter"),
        ("none", "pkill --signal HUP --oldest --euid ldapmilter --full 'ldapmilter.* run'"),
    ],
)
def test_the_rotation_that_is_installed_is_that_of_the_service_manager(
    tmp_path: Path, service: str, command: str
) -> None:
    python = tmp_path / "opt/ldapmilter/bin/python"
    python.parent.mkdir(parents=True)
    (tmp_path / "opt/ldapmilter/pyvenv.cfg").touch()
    python.write_text("#!/bin/sh\n", encoding="ascii")  # a program that is there, and a pip that has nothing to do
    python.chmod(0o755)
    done = run("install", tmp_path, "--service", service)
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "etc/logrotate.d/ldapmilter").read_text(encoding="ascii")
    assert text.partition("    postrotate\n")[2].partition("    endscript\n")[0] == f"        {command}\n"
    # Nothing beside the command says of which service manager it would be.
    assert not re.search(r"# (systemd|supervisor|by its pid):", text)


@pytest.fixture
def closed() -> Iterator[Path]:
    """Yield an interpreter that can be built on, in a home directory that is closed to others."""
    with tempfile.TemporaryDirectory(prefix="closed-") as home:
        python = Path(home) / "bin" / "python3"
        python.parent.mkdir()
        for name in ("python3.13", "python3"):
            shutil.copy("/usr/bin/python3", python.with_name(name))
        yield python


def planned(*arguments: str, first: Path) -> subprocess.CompletedProcess[str]:
    """Have an installation on this host told, which changes nothing."""
    command = [str(SCRIPTS / "install"), "--dry-run", *arguments]
    environment = {**os.environ, "PATH": f"{first}:{os.environ['PATH']}"}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG, env=environment)


def test_a_python_that_the_services_user_cannot_run_is_not_built_on(closed: Path) -> None:
    refused = planned("--service", "none", "--python", str(closed), first=closed.parent)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        f"install: {closed} lies where the user ldapmilter cannot run it: take one of the system's." in refused.stderr
    )
    # Of those that are found the next one is taken.
    told = planned("--service", "none", first=closed.parent)
    assert (told.returncode, told.stderr) == (0, "")
    (line,) = [line for line in told.stdout.splitlines() if ", on Python 3." in line]
    assert "(/usr/" in line
    closed.parents[1].chmod(0o755)
    assert f"({closed.parent}/" in planned("--service", "none", first=closed.parent).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--service", "upstart"], 2, "--service is systemd, supervisor or none"),
        (["--prefix", "relative"], 2, "--prefix is a path"),
        (["--ldap-ca", "/nowhere/ca.pem"], 2, "/nowhere/ca.pem cannot be read"),
        (["--ldap-uri"], 2, "--ldap-uri needs a value"),
        (["--ldap-uri", "ldap://a|b"], 2, "no LDAP URI has"),
        (["--whatever"], 2, "no option --whatever"),
    ],
)
def test_wrong_use_is_said_in_one_line(tmp_path: Path, arguments: list[str], status: int, says: str) -> None:
    command = [str(SCRIPTS / "install"), "--root", str(tmp_path), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, says in done.stderr, done.stderr.count("\n")) == (status, True, 1)
    assert files(tmp_path) == {}


def test_a_directory_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "opt/ldapmilter").mkdir(parents=True)
    (tmp_path / "opt/ldapmilter/theirs").touch()
    done = run("install", tmp_path, "--service", "none")
    assert (done.returncode, "is not a virtual environment" in done.stderr) == (1, True)
    removed = run("uninstall", tmp_path)
    assert (removed.returncode, "left alone" in removed.stderr) == (1, True)
    assert (tmp_path / "opt/ldapmilter/theirs").exists()
