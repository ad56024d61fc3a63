"""A record of the log as lines: what stands in it of messages and directories begins none and steers no terminal."""

from __future__ import annotations

import logging
from typing import Any

from ldapmilter.plain import plain, plain_lines


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        return plain(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - the standard library's name and type
        return plain_lines(super().formatException(ei))


_FORMATTER = _Formatter()


def lines_of(record: logging.LogRecord) -> list[str]:
    """Return one line, and those of a traceback."""
    if not (record.exc_info or record.exc_text or record.stack_info):
        return [plain(record.getMessage())]  # as the formatter would, which is slow for a message's line
    return _FORMATTER.format(record).split("\n")
