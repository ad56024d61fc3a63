"""A page of documentation as a script: its sections, and the fenced blocks in each.

`sh` blocks hold commands that succeed and print nothing; `console` blocks hold `$ command` lines
with what each prints, on stdout or stderr; `ini` blocks hold configuration, `ldif` blocks what stands in the directory,
`eml` blocks a message.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
LANGUAGES: Final = frozenset({"sh", "console", "ini", "ldif", "eml"})


def run_line(
    command: str, folder: Path, *, environment: Mapping[str, str] | None = None, seconds: float = HANG
) -> tuple[int, str]:
    """Run a command of a page in a folder; return its status and what it printed, on stdout or stderr."""
    done = subprocess.run(
        ["bash", "-c", command],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        env=environment,
        cwd=folder,
    )
    return done.returncode, done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command and what it prints; None: nothing, and it succeeds."""

    command: str
    output: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A `##` section: its heading, its text, and its blocks in order."""

    heading: str
    text: str
    blocks: tuple[tuple[str, str], ...]

    def steps(self) -> list[Step]:
        """Return the commands of the section in order.

        Raises:
            ValueError: a block is in none of the languages that can be run.
        """
        steps: list[Step] = []
        for language, text in self.blocks:
            if language not in LANGUAGES:
                message = f"{self.heading}: a block in {language!r}"
                raise ValueError(message)
            if language == "sh":
                steps += [Step(command=line, output=None) for line in text.splitlines()]
            elif language == "console":
                for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    command, _, output = part.partition("\n")
                    steps.append(Step(command=command, output=output))
        return steps

    def configuration(self) -> str:
        """Return the section's configuration."""
        return "".join(text for language, text in self.blocks if language == "ini")


def sections(page: Path) -> list[Section]:
    """Return the sections of a page; what stands before the first heading is none."""
    parts = _SECTION.split(page.read_text(encoding="utf-8"))
    return [
        Section(heading=heading, text=text, blocks=tuple(_FENCE.findall(text)))
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
