"""One thing that a check has to say: a stable code, how bad it is, what it is, how to mend it."""

from __future__ import annotations

from enum import Enum
from string import Template

from msgspec import Struct, field


class Severity(str, Enum):
    """How bad a finding is, from the least to the worst."""

    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    WARNING = "warning"
    """Mail goes through, but something is not as it should be."""
    PROBLEM = "problem"
    """Copies are missed, mail is held up, or policy is betrayed."""

    @property
    def rank(self) -> int:
        """Sort key: the worse, the greater."""
        return list(Severity).index(self)


class Area(str, Enum):
    """What a finding is about, in the order of a report."""

    CONFIGURATION = "configuration"
    MILTER_SOCKET = "milter socket"
    LDAP = "LDAP servers"
    POSTFIX = "Postfix"
    IDENTITY = "identity"
    REGISTRATION = "registration"
    VALUES = "policy values"
    """All its texts are confidential: they name who is copied."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was found."""

    code: str
    """Stable for ever: monitoring and documents rely on it."""
    severity: Severity
    area: Area
    text: str
    """What was found, with the names it concerns."""
    remedy: str
    """What to do about it."""
    confidential: bool = False
    """Whether the text names who is copied: it is for the administrator's eyes, and no monitoring system's."""
    outage: bool = False
    """Whether it concerns all mail."""


class Kind(Struct, frozen=True, kw_only=True):
    """What findings with one code have in common: a row of docs/check.md."""

    code: str
    severity: Severity
    area: Area
    meaning: str
    """Why it matters, in one sentence."""
    remedy: str
    """What to do, with ``$name`` where a finding puts in its own."""
    confidential: bool = False
    outage: bool = False
    """Whether it concerns all mail: of many problems it is the one to be told first."""

    def found(self, text: str, **names: object) -> Finding:
        """Return a finding of this kind.

        Args:
            text: what was found.
            names: what the remedy wants to be filled with.
        """
        remedy = Template(self.remedy).substitute({name: str(value) for name, value in names.items()})
        return Finding(
            code=self.code,
            severity=self.severity,
            area=self.area,
            text=text,
            remedy=remedy,
            confidential=self.confidential or self.area is Area.VALUES,
            outage=self.outage,
        )

    @property
    def general_remedy(self) -> str:
        """The remedy with placeholders in capitals, as a document shows it."""
        names = Template(self.remedy).pattern.findall(self.remedy)
        return Template(self.remedy).substitute({found[1]: found[1].upper() for found in names if found[1]})


class Report(Struct):
    """What the checks found so far."""

    _findings: dict[Finding, None] = field(default_factory=dict)
    _accepted: dict[Finding, None] = field(default_factory=dict)
    looked_at: list[tuple[Area, str]] = field(default_factory=list)
    """What was looked at and is in order, in words."""
    milters_behind: tuple[str, ...] = ()
    """Milters that Postfix asks after this one, but for Zimbra's own, which verifies nothing."""
    directory_asked: bool = False
    """Whether any server answered."""
    daemon_reached: bool = False
    not_looked_for: set[str] = field(default_factory=set)
    """Codes of what could not be looked for, or was not asked for: that there is no such finding says nothing."""
    figures: dict[str, float] = field(default_factory=dict)
    """Measured on the way, for monitoring: name to value."""

    def add(self, finding: Finding) -> None:
        """Take a finding in; the same one twice counts once."""
        self._findings[finding] = None

    def accept(self, finding: Finding) -> None:
        """Do not count a finding any more."""
        self._findings.pop(finding, None)
        self._accepted[finding] = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found and counts, in the order in which it was."""
        return tuple(self._findings)

    @property
    def accepted(self) -> tuple[Finding, ...]:
        """What was found, and is known and accepted."""
        return tuple(self._accepted)

    def fine(self, area: Area, text: str) -> None:
        """Note what was looked at and is in order."""
        self.looked_at.append((area, text))

    @property
    def worst(self) -> Severity:
        """The worst severity found; a note when there is nothing."""
        return max((finding.severity for finding in self.findings), key=lambda one: one.rank, default=Severity.NOTE)

    def count(self, severity: Severity) -> int:
        """Return how many findings have a severity."""
        return sum(finding.severity is severity for finding in self.findings)
