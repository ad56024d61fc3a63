"""Exit status: what the guide promises for every verb, and what the verbs return."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.cli.exit_status import MEANINGS
from ldapmilter.cli.main import command_line, main
from tests.support.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from ldapmilter.cli.parser import Parser

GUIDE: Final = Path(__file__).resolve().parents[3] / "docs" / "admin-guide.md"
FORMS: Final = {
    "run": ("run",),
    "relay": ("relay",),
    "explain": ("explain", "--rcpt", "ann@example.test"),
    "explain --live": ("explain", "--live", "--rcpt", "ann@example.test"),
    "probe": ("probe", "--rcpt", "ann@example.test"),
    "check": ("check",),
    "check --config-only": ("check", "--config-only"),
    "config": ("config",),
    "config --live": ("config", "--live"),
    "status": ("status",),
    "cache flush": ("cache", "flush", "--all"),
    "cache stats": ("cache", "stats"),
    "cache show": ("cache", "show", "ann@example.test"),
    "audit find": ("audit", "find", "--queue-id", "x"),
    "audit verify": ("audit", "verify"),
    "coverage": ("coverage", "--csv"),
    "schema": ("schema", "--bind-account"),
    "schema --install": ("schema", "--install", "--uri", "URI", "--root-password-file", "SECRET"),
}
ASK_THE_DAEMON: Final = (
    "explain --live",
    "probe",
    "check --config-only",
    "config --live",
    "status",
    "cache flush",
    "cache stats",
    "cache show",
)
ASK_THE_DIRECTORY: Final = ("explain", "check", "coverage", "schema --install")


def names(parser: Parser, name: str = "") -> list[str]:
    below = [found for verb, one in parser.below.items() for found in names(one, f"{name} {verb}".strip())]
    return below or [name]


def status(form: str, folder: Path, config: str) -> int:
    uri = f"ldap://{LOOPBACK}:{free_port()}"
    secret = folder / "secret"
    secret.write_text("x\n", encoding="ascii")
    secret.chmod(0o600)
    file = folder / "config.ini"
    file.write_text(config.replace("URI", uri).replace("FOLDER", str(folder)), encoding="ascii")
    given = [text.replace("URI", uri).replace("SECRET", str(secret)) for text in FORMS[form]]
    return main([*given, "--config", str(file)])


GOOD: Final = (
    "[milter]\nsocket = unix:FOLDER/none\n[control]\nsocket = FOLDER/control\n[audit]\nfile = FOLDER/audit.jsonl\n"
    "[ldap]\nuri = URI\nstarttls = no\nconnect_timeout = 0.1\nlookup_deadline = 0.1\n"
    "bind_dn = uid=milter,cn=x\nbind_password_file = FOLDER/secret\n"
)


def test_the_guide_has_what_help_says_of_every_verb() -> None:
    table = GUIDE.read_text(encoding="utf-8").partition("<!-- table: exit status -->\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    said = {row[0].strip("`"): dict(zip((0, 1, 3, 4), row[1:], strict=True)) for row in rows}
    assert {verb: {code: text for code, text in row.items() if text} for verb, row in said.items()} == MEANINGS
    assert list(said) == names(command_line())


@pytest.mark.parametrize("verb", MEANINGS)
def test_help_tells_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*verb.split(), "--help"])
    assert ended.value.code == 0
    shown = "".join(capsys.readouterr().out.split())  # lines are broken behind hyphens, too
    for code, meaning in MEANINGS[verb].items():
        assert "".join(f"{code} {meaning}".split()) in shown
    assert "2wrongusage" in shown


@pytest.mark.parametrize("form", FORMS)
def test_a_configuration_that_cannot_be_used(form: str, tmp_path: Path) -> None:
    broken = "[control]\nsocket = none\n[ldap]\nuri = nothing\n"
    assert status(form, tmp_path, broken) == 2


@pytest.mark.parametrize("form", ASK_THE_DAEMON)
def test_no_daemon(form: str, tmp_path: Path) -> None:
    assert status(form, tmp_path, GOOD) == 4
    assert 4 in MEANINGS[form.partition(" --")[0]]


@pytest.mark.parametrize("form", ASK_THE_DIRECTORY)
def test_no_directory(form: str, tmp_path: Path) -> None:
    assert status(form, tmp_path, GOOD) == 3
    assert 3 in MEANINGS[form.partition(" --")[0]]


def test_what_needs_neither(tmp_path: Path) -> None:
    assert status("config", tmp_path, GOOD) == 0
    assert status("schema", tmp_path, GOOD) == 0
    assert status("audit find", tmp_path, GOOD) == 1
