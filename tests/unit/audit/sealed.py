"""An audit with seals in it, made by what seals the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.audit.lock import AuditLock
from ldapmilter.audit.open_file import OpenFile
from ldapmilter.audit.record import line
from ldapmilter.audit.sealing import ANCHOR_SECONDS, SEAL_SECONDS, Sealing
from tests.unit.audit.example import FULL, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.audit.seals import Seal


class SealedAudit:
    """An audit file, somebody who writes to it, and who seals it; time goes by when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        self.now = 1000.0
        self.sealing = Sealing(self.path, clock=lambda: self.now)
        self.anchors: list[Seal] = []
        self.written = 0
        self._lock = AuditLock(self.path)

    def write(self, count: int = 1, **more: Any) -> None:
        file = OpenFile(self.path)
        for _ in range(count):
            self.written += 1
            with self._lock.held():
                file.append(line(recorded(FULL, queue_id=f"Q{self.written}", **more)))
        file.retire()

    def look(self, after: float = 0.0) -> None:
        self.now += after
        seal = self.sealing.look()
        if seal is not None:
            self.anchors.append(seal)

    def minute(self, count: int = 3) -> None:
        """Write some lines, which are sealed."""
        self.write(count)
        self.look(SEAL_SECONDS)

    def hour(self) -> None:
        self.look(ANCHOR_SECONDS)

    def rotate(self, name: str, *, create: bool = True) -> Path:
        """Rename the file as logrotate does; a new one is there at once, or not."""
        aside = self.path.with_name(name)
        self.path.rename(aside)
        if create:
            self.path.touch(0o600)
        return aside

    def restart(self) -> None:
        """Let another process seal, after this one was killed."""
        self.sealing = Sealing(self.path, clock=lambda: self.now)

    def finish(self) -> None:
        if (seal := self.sealing.finish()) is not None:
            self.anchors.append(seal)

    @property
    def files(self) -> list[Path]:
        return sorted(self.path.parent.glob("audit.jsonl*"))
