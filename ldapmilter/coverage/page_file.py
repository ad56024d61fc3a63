"""The file of an HTML page: whole or not there."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def page_file(file: Path) -> Iterator[TextIO]:
    """Hand out what becomes the file once it is whole, mode 0600: it names who is copied. Until then, what was stays.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        if file.is_dir():
            message = f"--html {file}: cannot be written: it is a directory"
            raise ConfigError(message)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as out:
                yield out
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        message = f"--html {file}: cannot be written: {error.strerror}"
        raise ConfigError(message) from error
