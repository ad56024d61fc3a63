"""What every process that was forked here begins with."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def close_other_descriptors(keep: Collection[int]) -> None:
    """Let go of the parent's: another worker's channel held here would outlive the parent."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
