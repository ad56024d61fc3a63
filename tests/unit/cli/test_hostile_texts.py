"""A directory whose every text is hostile, and a message of the same kind: no verb lets any of it reach a terminal,
a table's cells or a page as what it is made to be.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.cli.main import main
from tests.support.builders import account, cos, domain, dynamic_group, global_config, static_list
from tests.support.names import zimbra_id
from tests.support.record import merge, to_ldif
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.record import Record

TEXTS: Final = (
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "two\nlines\r\nverdict   accept",
    "back\x08\x08\x08space",
    "right \u202eto left\u202c",
    "line\u2028separator\u2029\x85",
    '</script><script>alert(1)</script><img src=x onerror="alert(1)">',
    '=HYPERLINK("http://x.test/","click")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t-1",
    '"; drop, "quoted',
    "[bold red]markup[/] [link=http://x.test]x[/link]",
    "%s %n {0} {localpart} $(id) `id`",
    "\ufeff\u200b\u200d",
    "a" * 5000,
)


def people(text: str) -> list[Record]:
    values = [f"box-{text}@keep.test", text, f"ok@keep.test with={text}", f"ok@keep.test ref={text}"]
    return [
        *account(
            "ann@example.test",
            cos_id=zimbra_id("cos", "odd"),
            displayName=text,
            description=text,
            ldapMilterArchiveBcc=values,
            ldapMilterLegalBcc=values,
            ldapMilterSenderFromRewrite=[f"* => {text} <x@example.test>", f"{text} => x"],
            ldapMilterFromEnforce=text,
            zimbraPrefMailForwardingAddress=f"{text}@far.test",
            zimbraAllowFromAddress=text,
        ),
        *account("bob@example.test", displayName=text, ldapMilterArchiveReceivedBcc="bob@keep.test"),
        *static_list("crew@example.test", ["ann@example.test", text, f"{text}@far.test"], displayName=text),
        *dynamic_group(
            "watch@example.test", ldapMilterLegalBcc=text, ldapMilterAppliesToMembers=True, displayName=text
        ),
    ]


@pytest.fixture(params=TEXTS, ids=ascii)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(text: str, tmp_path: Path) -> Path:
    records = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *cos("odd", description=text, ldapMilterArchiveSentBcc=[f"{text}@keep.test", "cos@keep.test"]),
            *domain("example.test", description=text, ldapMilterLegalSentBcc="domain@vault.test"),
            *people(text),
        ]
    )
    (tmp_path / "directory.ldif").write_text(to_ldif(records), encoding="utf-8")
    file = tmp_path / "config.ini"
    file.write_text(f"[ldap]\nuri = ldif:{tmp_path}/directory.ldif\n", encoding="utf-8")
    return file


def run(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a verb, which may find problems but neither raises nor complains; return what it prints."""
    status = main(["--config", str(config), *arguments])
    out, error = capsys.readouterr()
    assert status in (0, 1), error
    assert error == ""
    return out


def odd(shown: str) -> set[str]:
    """Return the characters that a terminal or an editor acts on instead of showing them."""
    turning = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}
    return {one for one in shown if unicodedata.category(one) in {"Cc", "Zl", "Zp", "Cs"} or one in turning} - {"\n"}


def cells(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in rows:
        yield from row


def questions(text: str, folder: Path) -> Iterator[tuple[str, ...]]:
    message = folder / "message.eml"
    header = text.replace("\r", " ").replace("\n", "\n ")
    message.write_text(f"From: {header} <ann@example.test>\nSubject: {header}\nSender: {header}\n\nHello.\n", "utf-8")
    for recipient in ("joe@far.test", "crew@example.test", "watch@example.test", "ann@example.test"):
        yield ("--auth", "ann@example.test", "--rcpt", recipient, "--message", str(message))
    yield ("--auth", "ann@example.test", "--rcpt", "joe@far.test")


def test_explain(text: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in questions(text, tmp_path):
        shown = run(config, capsys, "explain", *arguments)
        assert odd(shown) == set()
        # One line of each: nothing made a second verdict.
        assert [line.split()[0] for line in shown.splitlines() if line[:1].strip()].count("verdict") == 1
        json.loads(run(config, capsys, "explain", "--json", *arguments))


def test_coverage(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert odd(run(config, capsys, "coverage")) == set()
    json.loads(run(config, capsys, "coverage", "--json"))
    table = list(csv.reader(io.StringIO(run(config, capsys, "coverage", "--csv"), newline="")))
    assert len({len(row) for row in table}) == 1
    for cell in cells(table):
        assert odd(cell) == set()
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
    page = tmp_path / "page.html"
    run(config, capsys, "coverage", "--html", str(page))
    written = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in written
    assert "<img src=x" not in written
