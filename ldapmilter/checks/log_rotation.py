"""What logrotate does to the audit: a rule that cuts it short loses lines, and breaks its seals."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config

_AREA = Area.CONFIGURATION

AUDIT_CUT = Kind(
    code="config-audit-copytruncate",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="logrotate cuts the audit short while it is written to (`copytruncate`): lines are lost, and"
    " `ldapmilter audit verify` does not pass that place.",
    remedy="leave the audit out of that rule, and rotate it by renaming (create), with a HUP (docs/audit.md)",
)
KINDS = (AUDIT_CUT,)

_MOST = 1 << 20
_ROOT = Path("/")
_MAIN = "etc/logrotate.conf"
_USUAL = "etc/logrotate.d"
# What logrotate does not take for a rule (logrotate.conf(5): tabooext).
_TABOO = re.compile(r"(~|,v|\.(rpm(save|orig|new)|(dpkg|ucf)-(old|dist|new|tmp)|disabled|bak|cfsaved|swp))\Z")
_SCRIPTS = frozenset({"prerotate", "postrotate", "firstaction", "lastaction", "preremove"})
_WORD = re.compile(r"\"([^\"]*)\"|'([^']*)'|([{}])|([^\s\"'{}]+(?:\{[^\s{}]*\}[^\s\"'{}]*)*)")


class _Rule(Struct, frozen=True):
    """One block of a file."""

    file: Path
    patterns: tuple[str, ...]
    cuts: bool


def check(config: Config, report: Report, *, root: Path = _ROOT) -> None:
    """Look for a rule of this host's logrotate that cuts the audit.

    Args:
        config: names the audit.
        report: what to add to.
        root: where the host's files are.
    """
    if config.audit is None:
        return
    audit = PurePosixPath(config.audit.absolute())
    for rule in _rules(root):
        pattern = next((pattern for pattern in rule.patterns if _matches(audit, pattern)), None)
        if pattern is not None and rule.cuts:
            report.add(AUDIT_CUT.found(f"{rule.file}: the rule for {pattern} has copytruncate, and is for {audit}"))


def _matches(path: PurePosixPath, pattern: str) -> bool:
    """Whether a path is one of those that a pattern stands for (glob(7): no ``*`` stands for a slash)."""
    wanted = PurePosixPath(pattern).parts
    return len(wanted) == len(path.parts) and all(map(fnmatch.fnmatchcase, path.parts, wanted))


def _rules(root: Path) -> list[_Rule]:
    """Return the rules as logrotate comes to them; without its main file, those of the usual directory."""
    main = root / _MAIN
    reading = _RuleFiles(root)
    reading.read(main if main.exists() else root / _USUAL)
    return reading.rules


class _RuleFiles:
    """One run over the files: what stands outside of all blocks holds for those after it, in whatever file."""

    def __init__(self, root: Path) -> None:
        self.rules: list[_Rule] = []
        self._root = root
        self._cuts = False
        self._read: set[Path] = set()

    def read(self, path: Path) -> None:
        """Read a file, or those in a directory; what cannot be read is left out, as it is by logrotate."""
        if path.is_dir():
            for file in sorted(path.iterdir()):
                if not _TABOO.search(file.name) and not file.is_dir():
                    self.read(file)
            return
        if path in self._read:  # they include each other
            return
        self._read.add(path)
        try:
            octets, _ = read_regular(path, _MOST)
        except OSError:
            return
        self._take(path, _without_scripts(octets.decode("utf-8", "replace")))

    def _take(self, file: Path, text: str) -> None:
        patterns: list[str] = []
        cuts: bool | None = None
        for line in text.splitlines():
            words = _words(line)
            if cuts is None and words[:1] == ["include"] and len(words) > 1:
                self.read(self._root / words[1].lstrip("/"))
                continue
            for word in words:
                if word == "{":
                    cuts = self._cuts
                elif word == "}":
                    self.rules.append(_Rule(file, tuple(patterns), cuts is True))
                    patterns, cuts = [], None
                elif word in {"copytruncate", "nocopytruncate"}:
                    if cuts is None:
                        self._cuts = word == "copytruncate"
                    else:
                        cuts = word == "copytruncate"
                elif cuts is None and word.startswith("/"):
                    patterns.append(word)


def _words(line: str) -> list[str]:
    if line.lstrip().startswith("#"):
        return []
    return [next(filter(None, groups), "") for groups in _WORD.findall(line)]


def _without_scripts(text: str) -> str:
    """Return a file's text without the commands in it, which may hold braces."""
    return "\n".join(_outside_scripts(text.splitlines()))


def _outside_scripts(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        word = line.strip()
        if inside:
            inside = word != "endscript"
        elif word in _SCRIPTS:
            inside = True
        else:
            yield line
