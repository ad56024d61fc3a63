"""How far ``ldapmilter coverage`` is, on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ldapmilter.directory.zimbra import ZimbraDirectory


@contextmanager
def progress_of(directory: ZimbraDirectory, seconds: float) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal only; hand out what is told how many more entries were read."""
    if not sys.stderr.isatty():
        yield lambda _read: None
        return
    from rich.console import Console  # noqa: PLC0415 - for a terminal only
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("counting", total=None)
        bar.update(task, total=directory.count_everybody(seconds), description="reading")
        yield lambda read: bar.advance(task, read)
