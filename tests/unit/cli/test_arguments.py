"""What is typed wrong is refused before anything is asked: an answer to another question would be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = """\
dn: cn=zimbra
objectClass: organizationalRole
cn: zimbra
"""
RCPT = ("--rcpt", "joe@far.test")

WRONG = [
    (("explain", "--rcpt", "ann@x.test,bob@y.test"), "--rcpt 'ann@x.test,bob@y.test'"),
    (("explain", "--rcpt", "ann@x.test;bob@y.test"), "--rcpt 'ann@x.test;bob@y.test'"),
    (("explain", "--rcpt", "ann@x.test bob@y.test"), "--rcpt 'ann@x.test bob@y.test'"),
    (("explain", "--rcpt", "ann@x.test,"), "--rcpt 'ann@x.test,'"),
    (("explain", "--rcpt", "joe"), "--rcpt 'joe'"),
    (("explain", "--rcpt", "postmaster"), "--rcpt 'postmaster'"),
    (("explain", "--rcpt", ""), "--rcpt ''"),
    (("explain", "--rcpt", "<>"), "--rcpt '<>'"),
    (("explain", "--rcpt", "Joe <joe@x.test>"), "--rcpt 'Joe <joe@x.test>'"),
    (("explain", "--rcpt", "joe@x..test"), "--rcpt 'joe@x..test'"),
    (("explain", "--rcpt", "good@x.test", "joe"), "--rcpt 'joe'"),
    (("explain", *RCPT, "--mail-from", "ann"), "--mail-from 'ann'"),
    (("explain", *RCPT, "--mail-from", "a@x.test,b@x.test"), "--mail-from 'a@x.test,b@x.test'"),
    (("explain", *RCPT, "--mail-from", "a@x.test\r\nRCPT TO:<b>"), "--mail-from"),
    (("explain", *RCPT, "--auth", ""), "--auth ''"),
    (("explain", *RCPT, "--auth", "ann, bob"), "--auth 'ann, bob'"),
    (("explain", *RCPT, "--auth", "ann@x.test,bob@x.test"), "--auth 'ann@x.test,bob@x.test'"),
    (("explain", *RCPT, "--from", "Ann <ann@x.test>\nBcc: x"), "--from"),
    (("explain", *RCPT, "--client", "ann.example.test"), "--client"),
    (("explain", *RCPT, "--client", "192.0.2.0/24"), "--client"),
    (("explain", *RCPT, "--daemon-port", "70000"), "--daemon-port"),
    (("explain", *RCPT, "--daemon-port", "0"), "--daemon-port"),
    (("explain", *RCPT, "--daemon-port", "smtp"), "--daemon-port"),
    (("explain", *RCPT, "--message", "/nonexistent"), "--message /nonexistent"),
    (("probe", "--rcpt", "joe"), "--rcpt 'joe'"),
    (("probe", *RCPT, "--mail-from", "ann"), "--mail-from 'ann'"),
    (("probe", *RCPT, "--timeout", "0"), "--timeout"),
    (("probe", *RCPT, "--timeout", "nan"), "--timeout"),
    (("probe", *RCPT, "--timeout", "inf"), "--timeout"),
    (("probe", *RCPT, "--timeout", "-1"), "--timeout"),
    (("probe", *RCPT, "--warn", "soon"), "--warn"),
    (("cache", "flush", "joe"), "'joe'"),
    (("cache", "flush", "a@x.test,b@x.test"), "'a@x.test,b@x.test'"),
    (("cache", "flush", "--domain", "a@x.test"), "--domain"),
    (("cache", "flush", "--domain", ""), "--domain"),
    (("cache", "flush", "--domain", "x.test,y.test"), "--domain"),
    (("cache", "flush", "--cos", ""), "--cos"),
    (("cache", "show", "joe"), "'joe'"),
    (("cache", "show", "a@x.test,b@x.test"), "'a@x.test,b@x.test'"),
    (("check", "--as-user", "ann@x.test", "--as-password-file", "/x"), "--as-user"),
    (("check", "--as-user", "uid=ann"), "--as-password-file"),
    (("check", "--as-user", "uid=ann", "--as-password-file", "/nonexistent"), "--as-password-file = /nonexistent"),
    (("check", "--postconf-dir", "/nonexistent"), "--postconf-dir"),
    (("audit", "find", "--address", "joe"), "--address"),
    (("audit", "find", "--address", "a@x.test,b@x.test"), "--address"),
    (("audit", "find", "--day", "22.11.2026"), "--day"),
    (("audit", "find", "--day", "2026-02-30"), "--day"),
    (("audit", "find", "--queue-id", " "), "--queue-id"),
    (("audit", "find", "--message-id", "<>"), "--message-id"),
    (("coverage", "--limit", "-1"), "--limit"),
    (("coverage", "--class", "legla"), "did you mean legal"),
    (("coverage", "--domain", "no domain"), "--domain no domain"),
]  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "x.ldif").write_text(DIRECTORY, encoding="utf-8")
    file = folder / "config.ini"
    file.write_text(
        f"[ldap]\nuri = ldif:x.ldif\n[audit]\nfile = {folder}/audit.jsonl\n[control]\nsocket = {folder}/control.sock\n",
        encoding="utf-8",
    )
    return file


@pytest.mark.parametrize(
    ("arguments", "named"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_what_is_wrong_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    try:
        status = main(["--config", str(config), *arguments])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else -1
    shown = capsys.readouterr()
    assert (status, shown.out) == (2, "")
    assert named in shown.err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rcpt", "<joe@far.test>"),
        ("--rcpt", '"a,b"@far.test', '" joe"@far.test', "joe+é@far.test", "joe@[192.0.2.1]"),
        ("--rcpt", "joe+" + "x" * 300 + "@far.test"),
        (*RCPT, "--mail-from", "<>"),
        (*RCPT, "--mail-from", ""),
        (*RCPT, "--auth", "ann"),
        (*RCPT, "--from", "not readable, <as an address"),
    ],
    ids=" ".join,
)
def test_what_a_mail_server_takes_is_explained(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert main(["--config", str(config), "explain", *arguments]) in {0, 1, 3}
    assert "verdict" in capsys.readouterr().out


def test_a_wrong_argument_is_unknown_to_a_monitoring_system(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "probe", "--nagios", "--rcpt", "joe"]) == 3
    assert capsys.readouterr().out.startswith("LDAPMILTER UNKNOWN - --rcpt 'joe'")


def test_a_monitoring_system_gets_no_bar_but_the_one_before_the_figures(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(config), "probe", "--nagios", "--rcpt", "joe|x=1"]) == 3
    assert capsys.readouterr().out.startswith("LDAPMILTER UNKNOWN - --rcpt 'joe/x=1'")
