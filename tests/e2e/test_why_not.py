"""Why nothing happens, asked of a real slapd: as docs/why-not.md has it, and the same from the running daemon."""

from __future__ import annotations

import shlex
from typing import Final

from tests.support.daemon import Daemon
from tests.support.slapd import Slapd
from tests.support.why_not_page import SECTIONS, directory, without_searches

OPTIONS: Final = {"identity": {"mailbox_hosts": "192.0.2.25"}, "ldap": {"lookup_deadline": "60"}}


def test_the_value_of_a_list_is_found_from_below() -> None:
    (section,) = [one for one in SECTIONS if one.heading == "The value of a list is not its members'"]
    (step,) = section.steps()
    _, verb, *arguments = shlex.split(step.command)
    with Slapd(directory(section)) as slapd, Daemon(slapd, OPTIONS) as daemon:
        asked = daemon.explain(*arguments)
        live = daemon.explain("--live", *arguments)
        assert without_searches(daemon.cli(verb, *arguments).stdout) == step.output
        assert without_searches(daemon.cli(verb, "--live", *arguments).stdout) == step.output
        assert live["not_applied"] == asked["not_applied"]
        (sent,) = [one for one in asked["not_applied"] if (one["class"], one["direction"]) == ("archive", "sent")]
        assert (sent["cause"], sent["values"][0]["group_path"]) == ("list-only", ["team@example.com"])
        assert [level["level"] for level in sent["looked_at"]] == ["account", "cos", "domain", "global"]
