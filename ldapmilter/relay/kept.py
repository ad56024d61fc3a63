"""Copies that are kept: a Maildir, a file each, on disk before anybody relies on it.

A file is a header block of ours, an empty line, and the octets as they were, or would have been, handed on. It is
written under ``tmp/``, brought to disk, and only then has its name under ``new/``: what a crash leaves is half a
file in ``tmp/``, while Postfix still has the copy. The name is made of the token, so a copy is kept once.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ldapmilter.durable import sync_directory
from ldapmilter.errors import LdapmilterError
from ldapmilter.plain import plain
from ldapmilter.relay.ends import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.relay.ends import End
    from ldapmilter.relay.stored import KnownCopy

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE: Final = 64 * 1024
_MOST_HEADER: Final = 64 * 1024
_SETTLED_NANOSECONDS: Final = 2_000_000_000
_FOLDERS: Final = ("tmp", "new", "cur")
PREFIX: Final = "X-Ldapmilter-"
OTHER_MESSAGE_ID: Final = "Other-Message-Id"
"""Field of ours: as :attr:`KnownCopy.other_message_id`; empty: it is the message that was decided."""
_DIGEST: Final = "Sha256"
"""Of a copy's octets: a file that was cut off, or edited, is not the copy."""
_NO_DIGEST: Final = "0" * 64
"""In its place until all octets are there."""
_OTHER: Final = "other"
"""Where messages lie that came with a copy's token, were kept, and were none."""


class KeepError(LdapmilterError):
    """A copy cannot be kept, or a kept one cannot be read; the text names the file and why."""


class KeptCopy(Struct, frozen=True, kw_only=True):
    """One file."""

    path: Path
    fields: Mapping[str, str]
    """Of the header block of ours, without :data:`PREFIX`: Token, Target, Sender and so on."""
    begins: int
    """Where its octets begin."""

    @property
    def token(self) -> str:
        """The copy's."""
        return self.fields["Token"]

    def chunks(self) -> Iterator[bytes]:
        """Yield its octets in pieces; the last one only where all are as they were kept.

        Raises:
            KeepError: they cannot be read, or were changed.
        """
        digest, held = hashlib.sha256(), b""
        try:
            with self.path.open("rb") as file:
                file.seek(self.begins)
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    if held:
                        yield held
                    held = piece
        except OSError as error:
            message = f"{self.path}: the kept copy cannot be read: {error.strerror}"
            raise KeepError(message) from error
        if self.fields.get(_DIGEST, digest.hexdigest()) != digest.hexdigest():
            message = f"{self.path}: the kept copy was changed since it was kept: bring the file back, or --discard it"
            raise KeepError(message)
        if held:
            yield held


class Maildir:
    """The kept copies; for any number of threads of one process."""

    def __init__(self, path: Path) -> None:
        """Prepare; nothing is made yet."""
        self.path = path
        self._cur: tuple[int, list[str]] | None = None
        """When ``cur/`` was changed, and the names in it."""

    def prepare(self, is_mine: Callable[[], object] = lambda: None) -> None:
        """Make the Maildir where there is none, for its owner alone, and remove what a crash left half-written.

        Args:
            is_mine: called before anything is removed; raises where another relay has the Maildir.

        Raises:
            KeepError: it cannot be made or used.
        """
        try:
            for folder in (self.path, *(self.path / name for name in _FOLDERS)):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)
            is_mine()
            for leftover in (self.path / "tmp").iterdir():
                leftover.unlink()
            sync_directory(self.path)
        except OSError as error:
            message = (
                f"{self.path}: copies cannot be kept there: {error.strerror}; [relay] kept has to name a Maildir of the"
                f" daemon's user (install -d -m 0700 -o USER {self.path.parent})"
            )
            raise KeepError(message) from error

    def keep(self, token: str, fields: Mapping[str, str], chunks: Iterable[bytes]) -> Path:
        """Keep a copy; when this returns it is on disk, whole.

        Args:
            token: the copy's.
            fields: for the header block of ours, without :data:`PREFIX`.
            chunks: its octets.

        Raises:
            KeepError: it is not kept.
        """
        half, whole = self.path / "tmp" / token, self.path / "new" / token
        try:
            if (there := self.find(token)) is not None:
                sync_directory(there.parent)  # the name may not have come to disk when it was given
                return there
            descriptor = os.open(half, _FLAGS, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    digest, block = hashlib.sha256(), _block({"Token": token, _DIGEST: _NO_DIGEST, **fields})
                    file.write(block)
                    for chunk in chunks:
                        digest.update(chunk)
                        file.write(chunk)
                    file.seek(block.index(_NO_DIGEST.encode("ascii")))
                    file.write(digest.hexdigest().encode("ascii"))
                    file.flush()
                    os.fsync(file.fileno())
                half.rename(whole)
                sync_directory(whole.parent)
            except BaseException:
                with contextlib.suppress(OSError):
                    half.unlink()
                raise
        except OSError as error:
            message = f"{whole}: the copy cannot be kept: {error.strerror or error}"
            raise KeepError(message) from error
        return whole

    def find(self, token: str) -> Path | None:
        """Return the file of a copy; ``None``: it is not kept here. A mail program may have moved it to ``cur/``."""
        with contextlib.suppress(OSError):
            if os.path.exists(here := f"{self.path}/new/{token}"):  # noqa: PTH110 - asked for every copy
                return Path(here)
            return next((self.path / "cur" / name for name in self._moved() if name.startswith(token)), None)
        return None

    def _moved(self) -> list[str]:
        """Return the names in ``cur/``; they are read anew where the directory has changed.

        A change that is as new as the clock is coarse may not be the last one of its time.

        Raises:
            OSError: it cannot be read.
        """
        folder = f"{self.path}/cur"
        changed, known = os.stat(folder).st_mtime_ns, self._cur  # noqa: PTH116 - asked for every copy
        if known is not None and known[0] == changed:
            return known[1]
        settled = abs(time.time_ns() - changed) > _SETTLED_NANOSECONDS
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
        self._cur = (changed, names) if settled else None
        return names

    def read(self, token: str) -> KeptCopy | None:
        """Return a kept copy; ``None``: it is not kept here.

        Raises:
            KeepError: it cannot be read.
        """
        path = self.find(token)
        return None if path is None else read_kept(path)

    def set_aside(self, token: str) -> None:
        """Move what is kept under a token to ``other/``, if there is something: it is no copy, and the copy has come.

        Raises:
            KeepError: that cannot be.
        """
        path = self.find(token)
        if path is None:
            return
        folder = self.path / _OTHER
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            # What was set aside before under this token was answered for as well.
            names = itertools.chain([token], (f"{token}-{number}" for number in itertools.count(2)))
            path.rename(next(folder / name for name in names if not (folder / name).exists()))
            for changed in (folder, path.parent, self.path):
                sync_directory(changed)
        except OSError as error:
            message = f"{path}: what is kept there cannot be set aside: {error.strerror}"
            raise KeepError(message) from error

    def copies(self) -> Iterator[KeptCopy | KeepError]:
        """Yield every kept copy; of a file that is none, or cannot be read, why.

        Raises:
            KeepError: the Maildir cannot be read.
        """
        for folder in ("new", "cur"):
            try:
                files = sorted((self.path / folder).iterdir())
            except OSError as error:
                message = f"{self.path}: the kept copies cannot be read: {error.strerror}"
                raise KeepError(message) from error
            for file in files:
                try:
                    yield read_kept(file)
                except KeepError as error:
                    yield error

    def remove(self, token: str) -> None:
        """Let a copy go, for good; one that is not there is gone already.

        Raises:
            KeepError: it cannot be removed.
        """
        path = self.find(token)
        if path is None:
            return
        try:
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
        except OSError as error:
            message = f"{path}: the kept copy cannot be removed: {error.strerror}"
            raise KeepError(message) from error


def read_kept(path: Path) -> KeptCopy:
    """Read the header block of a kept copy's file.

    Raises:
        KeepError: it cannot be read, or is none of ours.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_MOST_HEADER)
    except OSError as error:
        message = f"{path}: the kept copy cannot be read: {error.strerror}"
        raise KeepError(message) from error
    block, end, _ = head.partition(b"\n\n")
    lines = block.decode("utf-8", "replace").split("\n")
    ours = end and all(line.startswith(PREFIX) and ": " in line for line in lines)
    fields = dict(line.removeprefix(PREFIX).split(": ", 1) for line in lines) if ours else {}
    if not path.name.startswith(fields.get("Token") or "/"):
        message = (
            f"{path}: is no copy that the relay kept: it does not begin with {PREFIX}Token and the like,"
            " or has another one's name"
        )
        raise KeepError(message)
    return KeptCopy(path=path, fields=fields, begins=len(block) + len(end))


def fields_of(copy: KnownCopy, now: float, state: End, answer: ServerAnswer | None, why: str) -> dict[str, str]:
    """Return what the header block of a kept copy says of it.

    Args:
        copy: what is known of it.
        now: seconds since the epoch.
        state: why it is kept, as the audit has it.
        answer: the server's, if one was asked.
        why: the same in words.
    """
    return {
        "Target": copy.target,
        "Delivery": copy.delivery,
        "Class": " ".join(copy.classes),
        "Queue-Id": copy.queue_id,
        "Message-Id": copy.message_id,
        "Decided": as_text(copy.decided_at) if copy.decided_at is not None else "",
        "Kept": as_text(now),
        "State": state,
        "Server": answer.server if answer is not None else "",
        "Reply": f"{answer.code or ''} {answer.text}".strip() if answer is not None else "",
        "Why": why,
        OTHER_MESSAGE_ID: copy.other_message_id or "",
    }


def _block(fields: Mapping[str, str]) -> bytes:
    lines = (f"{PREFIX}{name}: {plain(value)[:1000]}\n" for name, value in fields.items())
    return "".join(lines).encode("utf-8", "replace") + b"\n"
