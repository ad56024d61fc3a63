"""Whether an audit is whole and unchanged: every seal held against the octets that it is for, file after file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from ldapmilter.audit.chain_order import CannotRead, in_order
from ldapmilter.audit.reading import BAD_STREAM, opened, why
from ldapmilter.audit.sealed_parts import CutLine, parts_of
from ldapmilter.audit.seals import FIRST, Seal, SealLine
from ldapmilter.audit.unsealed import damaged_seal, line_numbers

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ldapmilter.audit.chain_order import Head


class Problem(Struct, frozen=True, kw_only=True):
    """The first place that does not hold."""

    file: Path
    first: int
    """Octets from the start of the file (decompressed)."""
    to: int
    """Where the place ends; the same: between two octets."""
    text: str
    lines: tuple[int, int] | None = None
    """The first and the last line that it touches, from 1; ``None``: not known."""


class FileVerdict(Struct):
    """What was found in one file."""

    file: Path
    first: int | None = None
    """Its first seal."""
    last: int | None = None
    """Its last seal."""
    octets: int = 0
    """How many it holds, decompressed."""
    unsealed: int = 0
    """How many of them no seal is for, at its end."""


class ChainVerdict(Struct):
    """What was found."""

    files: list[FileVerdict] = field(default_factory=list)
    """In the order of the chain, as far as it was read."""
    begins: Seal | None = None
    """What the first seal here stands on; number 0: the beginning. ``None``: nothing is sealed."""
    ends: Seal | None = None
    """The newest seal that holds."""
    problem: Problem | None = None
    notes: list[str] = field(default_factory=list)
    """What a reader has to know besides."""
    anchors: dict[int, str] = field(default_factory=dict)
    """What became of each seal that was asked for: ``same``, ``other``, ``earlier``, ``missing``."""

    @property
    def sealed(self) -> bool:
        """Whether there is any seal that holds; the first line of a file names one, and is none."""
        return any(one.last is not None for one in self.files)

    @property
    def holds(self) -> bool:
        """Whether nothing was found that does not hold."""
        return self.problem is None and all(found == "same" for found in self.anchors.values())


def verify(
    files: Sequence[Path],
    audit: Path,
    anchors: Mapping[int, str] | None = None,
    progress: Callable[[int], None] = lambda _octets: None,
) -> ChainVerdict:
    """Read all files of an audit and hold every seal against what it is for, up to the first that does not hold.

    Args:
        files: in any order.
        audit: the file that the daemon writes, whose lock is taken for a moment.
        anchors: hexadecimal digits of seals that are known from elsewhere, by number.
        progress: told how many octets more of the files (as they lie on disk) were read.
    """
    return _Verification(files, audit, dict(anchors or {}), progress).run()


class _Verification:
    def __init__(
        self, files: Sequence[Path], audit: Path, anchors: dict[int, str], progress: Callable[[int], None]
    ) -> None:
        self._files = files
        self._audit = audit
        self._anchors = anchors
        self._progress = progress
        self._verdict = ChainVerdict()
        self._latest: Seal | None = None

    def run(self) -> ChainVerdict:
        verdict = self._verdict
        try:
            heads = in_order(self._files, self._audit, verdict.notes.append)
        except CannotRead as error:
            self._fail(error.file, 0, 0, str(error))
            return verdict
        for position, head in enumerate(heads):
            if verdict.problem is None:
                self._check(head, is_last=position == len(heads) - 1)
        verdict.ends = self._latest
        for n in self._anchors:
            if n not in verdict.anchors:
                earlier = verdict.begins is not None and n < verdict.begins.n
                verdict.anchors[n] = "earlier" if earlier else "missing"
        return verdict

    # -- one file ---------------------------------------------------------------------------

    def _check(self, head: Head, *, is_last: bool) -> None:
        found = FileVerdict(head.file)
        self._verdict.files.append(found)
        if not self._goes_on(head):
            return
        walk = _FileWalk(self._latest or head.opening or FIRST)
        try:
            with opened(head.file, self._audit) as stream:
                before = 0
                for part in parts_of(stream.lines):
                    if isinstance(part, CutLine):
                        text = "the file was cut while ldapmilter wrote to it (copytruncate?): lines may be missing"
                        self._fail(head.file, part.start, part.start, text)
                        return
                    if isinstance(part, SealLine):
                        if not self._take(part, walk, found):
                            return
                    else:
                        walk.add(part)
                        position = stream.file.tell()
                        self._progress(position - before)
                        before = position
        except BAD_STREAM as error:
            self._fail(head.file, walk.position, walk.position, f"it cannot be read on: {why(head.file, error)}")
            return
        found.octets, found.unsealed = walk.position, walk.position - walk.first
        self._judge_rest(head, found, walk, is_last=is_last)

    def _goes_on(self, head: Head) -> bool:
        """Whether a file goes on where the one before it ended."""
        opening, latest = head.opening, self._latest
        if opening is None:
            return True  # it may have no seal at all: seen at its end
        if latest is None:
            self._begin(opening)
        elif opening != latest:
            if opening.n > latest.n:
                text = f"it goes on after seal {opening.n}, and what is before it ends with seal {latest.n}"
            elif opening.n < latest.n:
                text = f"it goes on after seal {opening.n}, although there is a seal {latest.n} before it"
            else:
                text = f"it goes on after another seal {opening.n} than the one that is there"
            self._fail(head.file, 0, 0, text, line=1)
            return False
        return True

    def _begin(self, seal: Seal) -> None:
        self._verdict.begins = self._latest = seal
        self._look_for(seal)

    def _take(self, line: SealLine, walk: _FileWalk, found: FileVerdict) -> bool:
        """Hold one seal against what it is for."""
        seal, expected = line.seal, walk.seal.n + 1
        if seal.n != expected:
            text = f"seal {seal.n} stands where seal {expected} has to follow: lines or seals were removed or moved"
        elif (line.first, line.to) != (walk.first, line.start):
            text = (
                f"seal {seal.n} is for octets {line.first} to {line.to},"
                f" and stands after octets {walk.first} to {line.start}"
            )
        elif walk.hash.hexdigest() != seal.sha256:
            text = f"not what was sealed: seal {seal.n} does not fit"
        else:
            if self._latest is None:
                self._begin(FIRST)
            self._latest = seal
            self._look_for(seal)
            found.first = found.first or seal.n
            found.last = seal.n
            walk.go_on(line)
            return True
        self._fail(found.file, walk.first, line.start, text)
        return False

    def _judge_rest(self, head: Head, found: FileVerdict, walk: _FileWalk, *, is_last: bool) -> None:
        if found.last is None and head.opening is None:
            if self._latest is not None:
                self._fail(head.file, 0, walk.position, "it has no seal, and stands where sealed files do")
            else:
                self._verdict.notes.append(
                    f"{head.file}: not sealed: it is from before there were seals, or they were taken out"
                )
        elif found.unsealed:
            if is_last and (damage := damaged_seal(head.file, self._audit, walk.seal, walk.first)) is not None:
                self._fail(
                    head.file, *damage, f"seal {walk.seal.n + 1} was changed: this line is hardly different from it"
                )
            since = f"seal {walk.seal.n}" if found.last is not None else "the file began"
            self._verdict.notes.append(
                f"{head.file}: its last {found.unsealed} octets, since {since}, are not sealed"
                + (" yet" if is_last else "")
            )

    def _look_for(self, seal: Seal) -> None:
        if (wanted := self._anchors.get(seal.n)) is not None:
            self._verdict.anchors[seal.n] = "same" if wanted == seal.sha256 else "other"

    def _fail(self, file: Path, first: int, to: int, text: str, *, line: int | None = None) -> None:
        lines = (line, line) if line is not None else line_numbers(file, self._audit, first, to)
        self._verdict.problem = Problem(file=file, first=first, to=to, text=text, lines=lines)


class _FileWalk:
    """How far one file has been read."""

    def __init__(self, seal: Seal) -> None:
        self.seal = seal
        self.first = self.position = 0
        self.hash: hashlib._Hash = seal.begin()

    def add(self, octets: memoryview) -> None:
        self.hash.update(octets)
        self.position += len(octets)

    def go_on(self, line: SealLine) -> None:
        self.seal, self.hash = line.seal, line.seal.begin()
        self.first = self.position = line.end
