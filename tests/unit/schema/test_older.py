"""The access rules for a server whose schema is older: what has to come first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.cli.main import main
from tests.support.slapd_config import config_ldif

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE: Final = config_ldif(Path("/nowhere"), with_schema=True, milter_acl=False, tls=False)


def older(text: str) -> str:
    """Return a server's configuration without the settings of lists."""
    text = re.sub(r"\n ", "", text)
    text = "\n".join(line for line in text.split("\n") if not re.search(r"NAME 'ldapMilterList", line))
    return re.sub(r" \$\s+ldapMilterList\w+", "", text)


@pytest.mark.parametrize(("change", "warned"), [(older, True), (str, False)])
def test_rules_that_name_what_an_older_schema_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[str], str], *, warned: bool
) -> None:
    (tmp_path / "config.ldif").write_text(change(WHOLE), encoding="utf-8")
    (tmp_path / "directory.ldif").touch()
    file = tmp_path / "config.ini"
    file.write_text("[ldap]\nuri = ldif:directory.ldif\n", encoding="utf-8")
    asked = ["--config", str(file), "schema", "--acl", "--milter-dn", "uid=m,cn=appaccts,cn=zimbra"]
    assert main([*asked, "--cn-config", str(tmp_path / "config.ldif")]) == 0
    told = capsys.readouterr().out
    assert "ldapMilterListTag" in told
    assert ("is older" in told) == warned
