"""The tables of docs/lists.md, each row decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.policy.list_subject import tagged
from tests.unit.policy.table import read_tables
from tests.unit.policy.test_lists import AWAY, STAFF, changes, from_of, from_outside, world
from tests.unit.policy.world import ANN, JOE

if TYPE_CHECKING:
    from tests.unit.policy.table import Row

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "lists.md"
TABLES: Final = dict(read_tables(PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("row", TABLES["list-from"], ids=str)
def test_from(row: Row) -> None:
    members = (ANN, AWAY) if row.text("members") == "here and outside" else (ANN,)
    here = world({"ldapMilterListFrom": row.text("setting")}, members=members)
    post = from_outside(("From", row.value("From")), ("To", STAFF), sender="envelope@client.example.net")
    assert (from_of(here.decide(post)) or "") == row.value("it leaves with")


@pytest.mark.parametrize("row", TABLES["list-subject"], ids=str)
def test_subject(row: Row) -> None:
    came = row.value("Subject")
    assert (tagged(came, "[staff]") or came) == row.value("with the tag `[staff]`")


@pytest.mark.parametrize("row", TABLES["list-reply-to"], ids=str)
def test_reply_to(row: Row) -> None:
    settings = {"ldapMilterListReplyTo": row.text("setting")} if row.text("setting") else {}
    if row.text("From changes") == "yes":
        settings["ldapMilterListFrom"] = "foreign"
    came = row.value("Reply-To")
    fields = [("From", f"Joe <{JOE}>"), ("To", STAFF), *([("Reply-To", came)] if came else [])]
    found = changes(world({"ldapMilterListTag": "[x]", **settings}).decide(from_outside(*fields)))
    assert (found.get("Reply-To", came) or "") == row.value("Reply-To after")
    assert (found.get("Cc") or "") == row.value("Cc after")
