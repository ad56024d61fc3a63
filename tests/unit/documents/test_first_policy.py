"""The first policy that README and guide have an administrator set: nothing about it is to be remarked."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.checks.finding import Severity
from tests.support.builders import account, cos, domain
from tests.unit.checks.scene import look_at, site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.record import Record

ROOT: Final = Path(__file__).resolve().parents[3]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
GUIDE: Final = re.split(r"^## ", (ROOT / "docs/admin-guide.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
MAKERS: Final[dict[str, Callable[..., list[Record]]]] = {"md": domain, "mc": cos, "ma": account}
MAILBOXES: Final = ("ann", "legal", "vault", "hold")


def given(text: str) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return what the commands in a text set, by verb and entry."""
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)
    for command in re.findall(r"\bzmprov (m[dca] \S+ \+objectClass .+?)\"?$", text.replace("\\\n", ""), re.MULTILINE):
        verb, entry, *pairs = shlex.split(command)
        for attribute, value in zip(pairs[::2], pairs[1::2], strict=True):
            if attribute != "+objectClass":
                found[verb, entry].setdefault(attribute, []).append(value)
    return found


def directory(*texts: str) -> Iterator[list[Record]]:
    """Yield the entries that README and guide speak of, with the policy that texts set."""
    values = given("\n".join(texts))
    named = {("md", "example.com"), *(("ma", f"{name}@example.com") for name in MAILBOXES), *values}
    for verb, entry in sorted(named, reverse=True):
        yield MAKERS[verb](entry, **values.get((verb, entry), {}))


FIRST: Final = next(text for text in GUIDE if text.startswith("First policy"))


@pytest.mark.parametrize("text", [README, FIRST], ids=["README", "guide"])
def test_nothing_is_to_be_remarked_about_the_first_policy(tmp_path: Path, text: str) -> None:
    report = look_at(tmp_path, site(*directory(text)))
    assert report.findings == ()
    assert report.figures["policy_values"] > 1


def test_a_note_is_all_that_both_together_give_rise_to(tmp_path: Path) -> None:
    archive_of_none = "zmprov ma legal@example.com +objectClass ldapMilterPolicy ldapMilterArchiveBcc none"
    report = look_at(tmp_path, site(*directory(README, FIRST, archive_of_none)))
    assert {one.code for one in report.findings} == {"target-copied-union"}
    assert report.worst is Severity.NOTE
