"""Who seals an audit: one process, as long as it lives. Two would make two chains in one file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_held: set[int] = set()


def _close_in_child() -> None:
    """Keep nothing in a process that is forked: the lock is free when its holder ends."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


def sealer_file(audit: Path) -> Path:
    """Return what is locked by who seals an audit."""
    return audit.with_name(f".{audit.name}.sealer")


class SoleSealer:
    """The right to seal one audit."""

    def __init__(self, audit: Path) -> None:
        """Prepare; nothing is taken yet."""
        self._audit = audit
        self._descriptor = -1

    @property
    def is_taken(self) -> bool:
        """Whether this process has it."""
        return self._descriptor >= 0

    def take(self) -> None:
        """Take it.

        Raises:
            AuditError: another process has it, or the place cannot be used.
        """
        descriptor = _opened(self._audit)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise _refusal(self._audit, error, holder) from error
        self._descriptor = descriptor
        _held.add(descriptor)

    def release(self) -> None:
        """Give it back."""
        if self.is_taken:
            _held.discard(self._descriptor)
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # for a process that has just been forked, too
            os.close(self._descriptor)
            self._descriptor = -1


def refuse_anothers(audit: Path) -> None:
    """See that no other process seals an audit.

    Raises:
        AuditError: one does.
    """
    descriptor = _opened(audit)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if (holder := _holder(descriptor)) != str(os.getpid()):
            raise _refusal(audit, error, holder) from error
    finally:
        os.close(descriptor)


def _opened(audit: Path) -> int:
    try:
        return os.open(sealer_file(audit), _FLAGS, 0o600)
    except OSError as error:
        message = (
            f"{sealer_file(audit)}: cannot be used: {error.strerror}; it and its directory have to belong to the user"
            " that the daemon runs as"
        )
        raise AuditError(message) from error


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        return os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return ""


def _refusal(audit: Path, error: OSError, holder: str) -> AuditError:
    if not isinstance(error, BlockingIOError):
        return AuditError(f"{sealer_file(audit)}: cannot be used: {error.strerror}")
    process = f" (process {holder})" if holder else ""
    return AuditError(
        f"{audit}: another ldapmilter{process} writes and seals this audit; stop it, or give each an [audit] file"
        " of its own"
    )
