"""The page of ``ldapmilter coverage --diff --html`` in a real browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ldapmilter.coverage.difference import Counts, differences
from ldapmilter.coverage.difference_page import write_page
from ldapmilter.coverage.history import History
from tests.support.ports import HANG
from tests.unit.coverage.scene import TODAY, reported
from tests.unit.coverage.test_history import DAY, keep, other_rows

if TYPE_CHECKING:
    from pathlib import Path

_CHROMIUM = "/usr/bin/chromium"
_DRIVE = """
const shown = () => [...document.querySelectorAll("#rows tbody tr")].filter(row => row.offsetHeight > 0)
  .map(row => row.cells[0].innerText.split("\\n")[0]);
const type = (id, value, kind) => {
  const field = document.getElementById(id);
  field.value = value; field.dispatchEvent(new Event(kind));
};
const found = {all: shown(), figures: document.getElementById("figures").innerText};
found.markup = document.querySelectorAll("#rows b:not(p > b), #rows script").length;
type("search", "carol KEEP", "input"); found.searched = shown(); found.text = document.querySelector("dl").innerText;
type("search", "", "input"); type("change", "came", "change"); found.came = shown();
found.count = document.getElementById("shown").textContent;
const out = document.createElement("pre");
out.id = "outcome"; out.textContent = JSON.stringify(found); document.body.append(out);
"""


def test_the_reader_sees_searches_and_filters_what_is_different(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    with reported(tmp_path) as report:
        keep(history, report)
        keep(history, report, TODAY + DAY, other_rows(report))
    one, other = history.day(TODAY), history.day(TODAY + timedelta(days=1))
    counts = Counts()
    page = tmp_path / "difference.html"
    write_page(page, one, other, list(differences(one, other, counts)), counts)
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"<script>{_DRIVE}</script></body>"), encoding="utf-8")
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG, cwd=tmp_path)
    outcome = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert outcome is not None, done.stdout[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(outcome.group(1)))
    assert found["all"] == ["carol@branch.test", "dave@branch.test", "zoe@branch.test"]
    assert found["searched"] == ["carol@branch.test"]
    assert found["came"] == ["zoe@branch.test"]
    assert found["count"] == "1 of 3"
    assert found["markup"] == 0
    assert "lost copies\t1" in found["figures"]
    assert "carol@keep.test: account uid=carol" in found["text"]
