"""What a verb says beside its answer: one line on stderr."""

from __future__ import annotations

import sys

from ldapmilter.plain import plain


def complain(text: str) -> None:
    """Say what is wrong, in one line that holds no control character."""
    print(f"ldapmilter: {plain(text)}", file=sys.stderr)
