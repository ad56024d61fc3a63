"""What a verb loads before it does anything: a verb of a moment must not wait for what another one needs.

Modules are what is counted, since times depend on the machine; those that are refused here took most of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ldapmilter.cli.main import VERBS, command_line
from tests.support.ports import free_port
from tests.unit.cli.test_asking import ADaemon

ROOT: Final = Path(__file__).resolve().parents[3]
# Needed by one verb or another, and by none of those below.
HEAVY: Final = frozenset(
    {"asyncio", "email", "html", "http", "idna", "ldap3", "milter", "prometheus_client", "pyasn1", "rich"}
)
# Rooms that no decision needs.
ELSEWHERE: Final = frozenset({"audit", "checks", "coverage", "milter", "schema"})
# Rooms that neither the parent nor a worker needs: the relay is a process of its own.
AFTER_THE_FORK: Final = frozenset({"checks", "coverage", "relay", "schema"})
# What takes longer to load than a verb that asks the daemon to answer.
LONG: Final = HEAVY | {"concurrent", "dataclasses", "difflib", "inspect", "ipaddress", "logging", "pathlib", "xml"}
RUN: Final = """\
import json, sys
from ldapmilter.cli.main import main
try:
    status = main({arguments!r})
except SystemExit as ended:
    status = ended.code
print("\\n" + json.dumps([status, sorted(sys.modules)]), file=sys.__stdout__)
"""


def python(code: str) -> list[object]:
    # Without the hooks of the tests' own environment: -S leaves out site-packages, so they are named.
    path = [str(ROOT), *[place for place in sys.path if place.endswith("-packages")]]
    prepared = f"import sys; sys.path[:0] = {path!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", prepared], check=False, capture_output=True, text=True, timeout=120
    )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


def loaded(*arguments: str) -> tuple[object, set[str]]:
    """Return a verb's exit status, and the packages that it loaded."""
    status, modules = python(RUN.format(arguments=list(arguments)))
    assert isinstance(modules, list)
    return status, set(modules)


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "x.ldif").write_text("dn: cn=zimbra\nobjectClass: organizationalRole\ncn: zimbra\n", encoding="ascii")
    file = tmp_path / "config.ini"
    file.write_text(
        f"[milter]\nsocket = unix:{tmp_path}/none\n[ldap]\nuri = ldif:x.ldif\n"
        f"[audit]\nfile = {tmp_path}/audit.jsonl\n[control]\nsocket = {tmp_path}/no-control\n",
        encoding="ascii",
    )
    return file


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("status", "--help"), ("cache", "flush", "--help")])
def test_help_loads_nothing_but_the_parser(arguments: tuple[str, ...]) -> None:
    status, modules = loaded(*arguments)
    assert status == 0
    assert packages(modules) & LONG == set()
    assert "ldapmilter.config" not in modules


@pytest.mark.parametrize(
    "arguments", [("status",), ("status", "--json"), ("cache", "flush", "--all"), ("cache", "stats")], ids=" ".join
)
def test_what_asks_the_daemon_loads_no_more_than_it_needs_for_that(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    daemon = ADaemon(tmp_path)
    try:
        status, modules = loaded("--config", str(daemon.file), *arguments)
    finally:
        daemon.close()
    assert status == 0
    assert packages(modules) & LONG == set()
    assert "ldapmilter.config" not in modules


@pytest.mark.parametrize("arguments", [("status",), ("cache", "flush", "--all")], ids=" ".join)
def test_nor_does_it_without_a_daemon(config: Path, arguments: tuple[str, ...]) -> None:
    status, modules = loaded("--config", str(config), *arguments)
    assert status == 4
    assert packages(modules) & LONG == set()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("explain", "--rcpt", "ann@example.test"), 0),
        (("explain", "--json", "--rcpt", "ann@example.test"), 0),
        (("probe", "--rcpt", "ann@example.test"), 4),
        (("audit", "find", "--queue-id", "x"), 1),
        (("schema", "--ldif"), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_other_verbs_load_what_they_need(config: Path, arguments: tuple[str, ...], wanted: int) -> None:
    status, modules = loaded("--config", str(config), *arguments)
    assert status in {wanted, 3}
    needed = {"ldap3", "pyasn1"} if arguments[0] == "schema" else set[str]()
    assert packages(modules) & HEAVY - needed == set()


@pytest.mark.parametrize("store", ["ldap", "ldif"])
def test_explain_loads_what_decides_and_one_back_end(config: Path, store: str) -> None:
    if store == "ldap":
        text = config.read_text(encoding="ascii")
        config.write_text(text.replace("ldif:x.ldif", f"ldap://127.0.0.1:{free_port()}"), encoding="ascii")
    status, modules = loaded("--config", str(config), "explain", "--rcpt", "ann@example.test")
    assert status == 3
    assert packages(modules) & HEAVY == ({"ldap3", "pyasn1"} if store == "ldap" else set())
    own = [name.split(".") for name in modules if name.startswith("ldapmilter.")]
    assert {name[1] for name in own} & ELSEWHERE == set()
    assert {name[2] for name in own if name[1] == "daemon" and len(name) > 2} == {
        "active_configuration",
        "channel",
        "control_client",
        "peer",
    }
    assert ("ldapmilter.directory.backend.ldif" in modules) == (store == "ldif")
    assert "xml.etree.ElementTree" not in modules  # for Zimbra's own configuration only
    assert "encodings.idna" not in modules  # Python's; what resolves names does without


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_tables_are_loaded_for_people_only(config: Path, form: str) -> None:
    _, modules = loaded("--config", str(config), "coverage", form)
    assert packages(modules) & HEAVY == set()
    _, modules = loaded("--config", str(config), "check", "--json")
    assert "rich" not in modules


def test_the_daemon_has_nothing_in_memory_that_few_configurations_want() -> None:
    """What is loaded here is there before the fork: the parent and every worker have it."""
    modules = python("import json, sys\nimport ldapmilter.cli.run\nprint(json.dumps(sorted(sys.modules)))")
    loaded_by_all = {str(name) for name in modules}
    unwanted = {"aiosmtpd", "email", "html", "http", "idna", "prometheus_client", "rich", "sqlite3", "xml"}
    assert packages(loaded_by_all) & unwanted == set()
    assert {name.split(".")[1] for name in loaded_by_all if name.startswith("ldapmilter.")} & AFTER_THE_FORK == set()
    assert {"ldap3", "milter", "ldapmilter.milter.session"} <= loaded_by_all  # loaded once, for all workers


def test_every_verb_is_found_and_has_its_arguments() -> None:
    parser = command_line()
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            parser.parse_args([verb, "--help"])
        assert ended.value.code == 0
