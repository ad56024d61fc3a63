"""``ldapmilter audit verify``: whether the audit is whole and unchanged, and if not, where."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldapmilter.audit.reading import files_of, why
from ldapmilter.audit.seals import FIRST, Seal
from ldapmilter.audit.verification import verify
from ldapmilter.cli import exit_status
from ldapmilter.config import load
from ldapmilter.errors import AuditError, ConfigError
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ldapmilter.audit.verification import ChainVerdict, Problem

_SEAL = re.compile(r"([0-9]{1,18}):([0-9a-fA-F]{64})")
_ANCHORS = {
    "same": "is the one that was given",
    "other": "IS ANOTHER ONE than was given: what stands here before it was changed, and its seals made anew",
    "earlier": "is older than what is here: it cannot be compared",
    "missing": "IS NOT HERE: the end was cut off, or all of it replaced",
}


def add_arguments(actions: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    """Add the action to the verb's parser."""
    verify_it = actions.add_parser(
        "verify",
        help="see whether the audit is whole and unchanged since it was sealed",
        description="Hold every seal in the audit file and its rotated siblings against what it is for. Exit status 1"
        " names the first place that does not hold (docs/evidence.md).",
        allow_abbrev=False,
    )
    verify_it.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="only these, in place of the configured audit"
    )
    verify_it.add_argument(
        "--seal",
        dest="seals",
        action="append",
        default=[],
        type=_seal,
        metavar="N:HASH",
        help="a seal that is known from elsewhere (mail log, journal report) has to be here; may be repeated",
    )
    verify_it.add_argument("--json", action="store_true", help="for programs")
    verify_it.set_defaults(action=_verify)


def _seal(text: str) -> Seal:
    found = _SEAL.fullmatch(text.strip())
    if found is None:
        message = f"{text!r} is no seal such as 57:9f86d0... (the number, a colon, 64 hexadecimal digits)"
        raise argparse.ArgumentTypeError(message)
    return Seal(int(found[1]), found[2].lower())


def _verify(options: argparse.Namespace) -> int:
    anchors: dict[int, str] = {}
    for seal in options.seals:
        if anchors.setdefault(seal.n, seal.sha256) != seal.sha256:
            message = f"--seal: two seals with the number {seal.n} were given; both cannot be in one audit"
            raise ConfigError(message)
    files, audit = _files(options)
    with _progress(files) as progress:
        verdict = verify(files, audit, anchors, progress)
    if options.json:
        print(plain_json(as_json(verdict), indent=1))
    else:
        print("\n".join(map(plain, _lines(verdict))))
    return exit_status.FINE if verdict.holds else exit_status.PROBLEM


def _files(options: argparse.Namespace) -> tuple[Sequence[Path], Path]:
    """Return the files, and the one that the daemon writes.

    Raises:
        ConfigError: there are none, or this user may not read one: that says nothing of what is in it.
    """
    if options.files:
        for file in options.files:
            _see_readable(file, missing="there is no such file")
        return options.files, options.files[0]
    audit = load(options.config).audit
    if audit is None:
        message = f"{options.config}: [audit] file is empty: no audit is kept; name the files"
        raise ConfigError(message)
    try:
        files = files_of(audit)
    except AuditError as error:
        raise ConfigError(str(error)) from error
    for file in files:
        _see_readable(file)
    return files, audit


def _see_readable(file: Path, *, missing: str | None = None) -> None:
    """See that a file may be read.

    Args:
        file: the file.
        missing: what is wrong when it is not there; ``None``: nothing, rotation renames files.

    Raises:
        ConfigError: it may not, or its name leads to none.
    """
    try:
        with file.open("rb"):
            pass
    except FileNotFoundError:
        if missing is not None:
            message = f"{file}: {missing}"
            raise ConfigError(message) from None
    except OSError as error:
        message = f"{file}: cannot be read: {why(file, error)}"
        raise ConfigError(message) from error


def as_json(verdict: ChainVerdict) -> dict[str, Any]:
    """Return what was found under the keys that programs rely on."""
    return {
        "holds": verdict.holds,
        "sealed": verdict.sealed,
        "begins": _seal_json(verdict.begins),
        "ends": _seal_json(verdict.ends),
        "problem": _problem_json(verdict.problem),
        "seals": {str(n): found for n, found in sorted(verdict.anchors.items())},
        "files": [
            {
                "file": str(one.file),
                "first": one.first,
                "last": one.last,
                "octets": one.octets,
                "unsealed": one.unsealed,
            }
            for one in verdict.files
        ],
        "notes": verdict.notes,
    }


def _seal_json(seal: Seal | None) -> dict[str, Any] | None:
    return {"n": seal.n, "sha256": seal.sha256} if seal is not None else None


def _problem_json(problem: Problem | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    return {
        "file": str(problem.file),
        "from": problem.first,
        "to": problem.to,
        "lines": list(problem.lines) if problem.lines is not None else None,
        "text": problem.text,
    }


def _lines(verdict: ChainVerdict) -> Iterator[str]:
    for one in verdict.files:
        seals = "no seal" if one.first is None else f"seals {one.first} to {one.last}"
        if verdict.problem is None or verdict.problem.file != one.file:
            yield f"{one.file}: {seals}, {one.octets} octets" + (f", {one.unsealed} unsealed" * bool(one.unsealed))
    yield from (f"note: {text}" for text in verdict.notes)
    if verdict.problem is not None:
        yield f"DOES NOT HOLD: {_place(verdict.problem)}: {verdict.problem.text}"
        if verdict.ends is not None and verdict.ends.n:
            yield f"what stands before holds, up to seal {verdict.ends}"
    for n, found in sorted(verdict.anchors.items()):
        if found in {"same", "other"} or verdict.problem is None:
            yield f"seal {n} {_ANCHORS[found]}"
        else:
            yield f"seal {n} was not reached"
    if not verdict.holds:
        return
    if verdict.begins is None or not verdict.sealed:
        yield "NOT SEALED: nothing can be said about whether it was changed"
    elif verdict.begins == FIRST:
        yield f"whole and unchanged, from the first seal to seal {verdict.ends}"
    else:
        yield f"whole and unchanged, begins at seal {verdict.begins.n}, to seal {verdict.ends}"
        yield f"what was sealed before seal {verdict.begins.n} is not here: older files were deleted, or are elsewhere"


def _place(problem: Problem) -> str:
    octets = f"octets {problem.first} to {problem.to}" if problem.to > problem.first else f"octet {problem.first}"
    if problem.lines is None:
        return f"{problem.file}: {octets}"
    first, last = problem.lines
    return f"{problem.file}: {octets} ({f'line {first}' if first == last else f'lines {first} to {last}'})"


@contextmanager
def _progress(files: Sequence[Path]) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal only; hand out what is told how many more octets were read."""
    if not sys.stderr.isatty():
        yield lambda _octets: None
        return
    from rich.console import Console  # noqa: PLC0415 - for a terminal only
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    with Progress(
        TextColumn("verifying"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda octets: bar.advance(task, octets)
