"""``ldapmilter config``: what counts, what differs from the default, and nothing that is secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from ldapmilter.cli.main import main
from ldapmilter.config import parse
from ldapmilter.config_options import SECTIONS
from tests.unit.cli.test_asking import ADaemon

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.config import Config

EXAMPLE = """\
[ldap]
uri = ldap://ann:secret@a
      ldap://b
bind_dn = uid=milter,cn=x
bind_password_file = secret
starttls = ON
[milter]
workers = 3
socket_mode = 660
[copy tax]
sent_attributes = taxBcc
[policy]
mode = observe
[control]
socket =
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "config.ini"
    found.write_text(EXAMPLE, encoding="utf-8")
    return found


def comparable(config: Config) -> dict[str, Any]:
    return {**{one.name: getattr(config, one.name) for one in structs.fields(config)}, "text": "", "file": ""}


def test_every_option_is_printed_and_the_text_is_the_same_configuration(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(EXAMPLE.replace("ann:secret@", ""), encoding="utf-8")
    assert main(["config", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    names = [line.partition(" = ")[0].rstrip(" =") for line in shown.splitlines() if " =" in line]
    assert sorted(names) == sorted([*(name for table in SECTIONS.values() for name in table), *SECTIONS["copy legal"]])
    before = parse(file.read_text(encoding="utf-8"), file)
    assert comparable(parse(shown, file)) == comparable(before)


def test_only_what_differs_from_the_default_however_it_is_spelt(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--non-default", "--config", str(file)]) == 0
    first, *shown = capsys.readouterr().out.splitlines()
    assert first == f"; {file}: whether it is in force is not known: [control] socket is empty"
    assert shown == [
        "[milter]",
        "workers = 3  ; default: auto",
        "[ldap]",
        "uri = ldap://***@a ldap://b  ; default: none",
        "bind_dn = uid=milter,cn=x  ; default: (empty)",
        f"bind_password_file = secret  ; default: (empty); here: {file.parent}/secret",
        "[policy]",
        "mode = observe  ; default: apply",
        "[control]",
        "socket =  ; default: /run/ldapmilter/control.sock",
        "[copy tax]",
        "sent_attributes = taxBcc  ; default: (empty)",
    ]


def test_what_a_value_comes_to_here(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = file.parent / "localconfig.xml"
    local.write_text(
        '<localconfig><key name="ldap_url"><value>ldap://r1:389 ldap://m:389</value></key>'
        '<key name="ldap_starttls_supported"><value>1</value></key></localconfig>',
        encoding="utf-8",
    )
    file.write_text(f"[ldap]\nzimbra_localconfig = {local}\n[control]\nsocket =\n", encoding="utf-8")
    assert main(["config", "--json", "--config", str(file)]) == 0
    shown = json.loads(capsys.readouterr().out)["sections"]
    assert shown["ldap"]["uri"] == {
        "value": "",
        "default": None,
        "is_default": True,
        "here": f"ldap://r1:389 ldap://m:389, as {local} says",
    }
    assert shown["copy legal"]["mode"]["here"] == "apply, as [policy] mode says"
    assert shown["milter"]["workers"]["here"].isdecimal()
    assert shown["cache"]["ttl"] == {"value": "300", "default": "300", "is_default": True, "here": None}
    local.unlink()
    assert main(["config", "--config", str(file)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("uri =")]
    assert line.startswith("uri =  ; here: not known: ")
    assert str(local) in line


def test_a_file_that_cannot_be_used(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[ldap]\nuri = nothing\n", encoding="utf-8")
    assert main(["config", "--config", str(file)]) == 2
    assert "[ldap] uri = nothing: allowed is" in capsys.readouterr().err


def test_the_running_daemon_is_compared_and_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon = ADaemon(tmp_path)
    daemon.answer |= {"text": daemon.running, "file": str(daemon.file)}
    try:
        assert daemon.run("config") == 0
        assert capsys.readouterr().out.startswith(f"; {daemon.file}: in force in the running daemon\n")
        daemon.write("ldap://a", "ldap://b")
        assert daemon.run("config") == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"; {daemon.file}: changed since the running daemon read it: --live prints")
        assert "uri = ldap://b" in shown
        assert daemon.run("config", "--live") == 0
        assert "uri = ldap://a" in capsys.readouterr().out
        other = tmp_path / "other.ini"
        other.write_text(daemon.running, encoding="utf-8")
        assert main(["config", "--config", str(other)]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"; {other}: not in force: the running daemon has {daemon.file}\n")
    finally:
        daemon.close()
    assert daemon.run("config", "--live") == 4
    assert daemon.run("config") == 0
