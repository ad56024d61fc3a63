"""Names that last: a file may be on disk, and its name not yet (fsync(2))."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Bring to disk which files a directory has.

    Raises:
        OSError: that fails; EINVAL where a file system cannot sync directories.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
