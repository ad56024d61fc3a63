"""The page of ``ldapmilter coverage --html`` in a real browser, driven as its reader would."""

from __future__ import annotations

import html
import json
import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.company import OFFICE, branch
from tests.support.builders import account
from tests.support.daemon import Daemon
from tests.support.ports import HANG
from tests.support.record import merge, to_ldif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CROWD = 120
_CHROMIUM = "/usr/bin/chromium"
_ASK = """
const at = id => document.getElementById(id);
const all = selector => [...document.querySelectorAll(selector)];
const type = (id, value, kind) => { at(id).value = value; at(id).dispatchEvent(new Event(kind, {bubbles: true})); };
const choose = (id, name) => type(id, [...at(id).options].find(one => one.text === name).value, "change");
const click = selector => document.querySelector(selector).click();
const rows = () => all("#rows tbody tr:not(.details)").map(row => (row.querySelector("button") || row).textContent);
const cells = name => [...all("#rows tbody tr").find(row => row.textContent.startsWith(name)).cells].slice(2);
const text = id => at(id).textContent;
const settle = () => new Promise(done => setTimeout(done, 400));
const search = async words => { type("search", words, "input"); await settle(); return rows(); };
const clear = async () => { click("#filters [type=reset]"); await settle(); };
const found = {errors: []};
addEventListener("error", event => found.errors.push(String(event.message)));
(async () => {
  try { %s } catch (error) { found.errors.push(String(error)); }
  const out = document.createElement("pre");
  out.id = "outcome";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
})();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the page of the company's branch and a crowd."""
    folder = tmp_path_factory.mktemp("page")
    folder.chmod(0o755)
    crowd = [one for number in range(CROWD) for one in account(f"u{number:03}@plain.test", cos_id=OFFICE)]
    crowd += account("galsync@plain.test", zimbraIsSystemResource="TRUE")
    (folder / "directory.ldif").write_text(to_ldif(merge([*branch(), *crowd])), encoding="utf-8")
    daemon = Daemon(None, {"ldap": {"uri": f"ldif:{folder / 'directory.ldif'}"}})
    try:
        done = daemon.cli("coverage", "--html", str(folder / "report.html"))
        assert done.returncode == 1, done.stderr
        yield folder / "report.html"
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def browse(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Return what drives the page by a script, whose ``found`` comes back."""
    folder = tmp_path_factory.mktemp("browser")

    @cache
    def run(script: str) -> dict[str, Any]:
        driven = folder / "driven.html"
        text = page.read_text(encoding="utf-8")
        driven.write_text(text.replace("</body>", f"<script>{_ASK % script}</script></body>"), encoding="utf-8")
        command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
        done = subprocess.run(
            [*command, driven.as_uri()], check=True, capture_output=True, text=True, timeout=HANG, cwd=folder
        )
        outcome = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
        assert outcome is not None, done.stdout[-2000:]
        found: dict[str, Any] = json.loads(html.unescape(outcome.group(1)))
        assert found.pop("errors") == []
        return found

    return run


def test_the_reader_searches_filters_sorts_turns_pages_and_opens_a_row(
    browse: Callable[[str], dict[str, Any]],
) -> None:
    found = browse("""
      found.about = text("about");
      found.notes = text("notes");
      found.figures = at("figures").innerText;
      found.markup = all("#rows b, #rows script").length;
      found.first = rows(); found.count = text("count"); found.pageOne = text("page");
      click("#next");
      found.second = rows(); found.pageTwo = text("page");
      found.searched = await search("carol");
      found.cells = cells("carol").map(cell => cell.innerText);
      found.name = document.querySelector("#rows .who .soft").textContent;
      click("#rows .who button");
      found.details = document.querySelector("tr.details").innerText;
      found.byGroup = await search("audit-eu");
      found.byCopy = await search("ann@branch.test.vault.keep.test");
      found.nobody = await search("nobody-at-all");
      await clear();
      found.cleared = text("count");
      choose("domain", "branch.test"); choose("column", "archive, sent"); choose("status", "no copy");
      found.lacking = rows(); found.words = text("count");
      await clear();
      choose("kind", "list");
      found.lists = rows();
      click("th[data-sort=address] button");
      found.reversed = rows();
      await clear();
      choose("status", "something invalid");
      found.invalid = rows();
      await clear();
      found.system = (await search("galsync"), cells("galsync")[0].firstChild.className);
      await clear();
      choose("status", "no copy"); choose("domain", "plain.test"); choose("column", "legal, sent");
      found.lackingLegal = text("count");
      choose("kind", "system account");
      found.systemLacks = text("count");
      await clear();
      click("#figures .figure button.link"); await settle();
      found.chosen = text("count");
    """)
    assert f"{9 + CROWD} accounts, 1 resource, 3 lists, 1 dynamic group, 1 system account" in found["about"]
    assert "cannot be used" in found["notes"]
    assert "of 130 people" in found["figures"]
    assert "of 4 lists, as recipients" in found["figures"]
    assert "1 of Zimbra\u2019s own accounts is not counted" in found["figures"]
    assert found["system"] == "tag unexpected"
    assert found["lackingLegal"] == f"{CROWD + 1} of 135 entries: legal, sent; no copy; plain.test"
    assert found["systemLacks"].startswith("0 of 135 entries")
    assert found["markup"] == 0  # carol's name is text, whatever she writes into it
    assert found["name"] == "Carol <b>Cole</b></script>"
    assert (len(found["first"]), found["pageOne"], found["count"]) == (50, "1\u201350 of 135", "135 entries")
    assert (len(found["second"]), found["pageTwo"]) == (50, "51\u2013100 of 135")
    assert not set(found["first"]) & set(found["second"])
    assert found["first"] == sorted(found["first"])
    assert found["searched"] == ["carol@branch.test"]
    sent, _received, legal, _legal_received = found["cells"]
    assert "carol@keep.test" in sent
    assert "expired value" in sent
    assert "only to external" in legal
    assert "Expired on 2020-01-31: old@keep.test" in found["details"]
    assert "ldapMilterArchiveBcc: carol@keep.test" in found["details"]
    assert found["byGroup"] == ["audit-eu@branch.test", "grace@branch.test"]
    assert found["byCopy"] == ["ann@branch.test"]
    assert found["nobody"] == ["Nobody matches."]
    assert found["cleared"] == "135 entries"
    assert [one.partition("@")[0] for one in found["lacking"]] == ["dave", "frank", "grace", "room", "vault"]
    assert found["words"] == "5 of 135 entries: archive, sent; no copy; branch.test"
    assert [one.partition("@")[0] for one in found["lists"]] == ["audit-eu", "audit", "sales-team"]
    assert found["reversed"] == found["lists"][::-1]
    assert found["invalid"] == ["frank@branch.test"]
    assert found["chosen"] == "4 of 135 entries: archive, sent; covered; all people"


def test_printing_takes_every_row_that_was_chosen(browse: Callable[[str], dict[str, Any]]) -> None:
    found = browse("""
      found.screen = (await search("plain.test")).length;
      dispatchEvent(new Event("beforeprint")); found.paper = rows().length;
      dispatchEvent(new Event("afterprint")); found.after = rows().length;
    """)
    assert found == {"screen": 50, "paper": CROWD + 2, "after": 50}


def test_the_page_loads_nothing_from_anywhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?i)\b(?:src|href)\s*=|@import|url\(|https?://|fetch\(|XMLHttpRequest|WebSocket", text)


def test_no_value_in_the_directory_ends_the_data(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 3
    assert "Carol \\u003cb>Cole" in text
