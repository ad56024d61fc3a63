"""docs/policy-by-zmprov.md: every command is run, every output compared, every decision also the daemon's."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.builders import account, cos, domain, dynamic_group, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.guide import Section, Step, run_line, sections
from tests.support.names import zimbra_id
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.support.zimbra_home import ZimbraHome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.record import Record

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "policy-by-zmprov.md"
SECTIONS: Final = sections(PAGE)
# What changes with every write and is nobody's policy.
OPERATIONAL: Final = re.compile(r"^(entryCSN|modifyTimestamp|modifiersName|contextCSN)", re.IGNORECASE)


def directory() -> list[Record]:
    """Return the directory that the page describes."""
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.com"),
            *domain("example.com"),
            *cos("staff"),
            *account(
                "ann@example.com",
                cos_id=zimbra_id("cos", "staff"),
                displayName="Ann Able",
                zimbraMemberOf=zimbra_id("group", "crew@example.com"),
            ),
            *account("bob@example.com"),
            *account("vault@example.com"),
            *static_list("sales@example.com", ["bob@example.com"]),
            *dynamic_group("crew@example.com"),
        ]
    )


class Reader:
    """Somebody who follows the page: a shell with `zmprov` and `ldapmilter`, and a running milter."""

    def __init__(self, slapd: Slapd, section: Section) -> None:
        self.slapd, self.home = slapd, ZimbraHome(slapd)
        options = configparser.RawConfigParser()
        options.optionxform = str  # type: ignore[assignment, method-assign]  # configparser's documented hook
        options.read_string(section.configuration())
        patient = {"ldap": {"lookup_deadline": "60"}}  # what could not be asked in time is told, too
        self.daemon = Daemon(slapd, {**patient, **{name: dict(options[name]) for name in options.sections()}})
        command = self.home.directory / "bin" / "ldapmilter"
        command.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m ldapmilter --config {self.daemon.config} "$@"\n', encoding="utf-8"
        )
        command.chmod(0o755)

    def close(self) -> None:
        self.daemon.close()
        self.home.close()

    def run(self, command: str) -> tuple[int, str]:
        """Run a line of the page; return its status and all that it printed."""
        environment = {**os.environ, "PATH": f"{self.home.directory}/bin:{os.environ['PATH']}"}
        return run_line(command, Path(), environment=environment)

    def daemon_agrees(self, command: str) -> None:
        """See that the running milter does what `explain` told."""
        arguments = shlex.split(command)[2:]
        told = self.daemon.explain(*arguments)
        # A daemon that has asked nothing yet: what it does is what the directory says now.
        self.daemon.stop()
        self.daemon.start()
        done = self.daemon.probe(*arguments)
        assert done["verdict"] == told["verdict"]
        if told["verdict"] == "accept":
            assert {copy["address"] for copy in done["copies"]} == {copy["address"] for copy in told["copies"]}
            assert all("NOTIFY=NEVER" in copy["parameters"] for copy in done["copies"])
            changed = done["from_before"] != done["from_after"]
            assert changed is (told["from"] is not None), json.dumps(done)

    def state(self) -> list[str]:
        """Return all that the directory holds, whatever its order."""
        entries = self.slapd.slapcat().split("\n\n")
        return sorted(
            "\n".join(sorted(line for line in entry.splitlines() if not OPERATIONAL.match(line))) for entry in entries
        )


def printed(step: Step, output: str) -> str:
    """Return what a command printed, as the page shows it: `explain` without its number of searches."""
    if not step.command.startswith("ldapmilter explain"):
        return output
    return "".join(line for line in output.splitlines(keepends=True) if not line.startswith("searches "))


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[bool, Slapd]]:
    with Slapd(directory()) as full, Slapd(directory(), with_schema=False) as bare:
        yield {True: full, False: bare}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.heading)
def test_the_page_tells_what_happens(servers: dict[bool, Slapd], section: Section) -> None:
    with_schema = "<!-- directory: without the schema -->" not in section.text
    reader = Reader(servers[with_schema], section)
    try:
        before = reader.state()
        for step in section.steps():
            status, output = reader.run(step.command)
            if step.output is None:
                assert (step.command, status, output) == (step.command, 0, "")
                continue
            assert printed(step, output) == step.output, step.command
            if step.command.startswith("ldapmilter explain"):
                reader.daemon_agrees(step.command)
        # Whoever followed the section to its end has left nothing behind.
        assert reader.state() == before
    finally:
        reader.close()


def test_the_page_is_whole() -> None:
    carriers = ["An account", "A COS", "A domain", "A distribution list", "A dynamic group", "The global config"]
    assert [section.heading for section in SECTIONS if section.heading in carriers] == carriers
    for section in SECTIONS:
        commands = [step.command for step in section.steps()]
        assert any(command.startswith("ldapmilter explain") for command in commands), section.heading
        assert any(command.startswith("zmprov ") for command in commands), section.heading
