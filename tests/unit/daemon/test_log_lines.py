"""A record of the log as lines: what stands in a message or a directory begins none."""

from __future__ import annotations

import logging
import sys

from ldapmilter.daemon.log_lines import lines_of

HOSTILE = "cn=x\x1b[2J\r\n4QID: verdict=accept\u2028y"


def record(text: str, *given: object) -> logging.LogRecord:
    error = sys.exc_info()
    return logging.LogRecord("x", logging.ERROR, __file__, 1, text, given, error if error[0] is not None else None)


def test_a_record_is_one_line_whatever_it_names() -> None:
    assert lines_of(record("two entries: %s", HOSTILE)) == [
        r"two entries: cn=x\x1b[2J\r\n4QID: verdict=accept\u2028y",
    ]


def test_a_traceback_has_lines_of_its_own() -> None:
    try:
        int(HOSTILE)
    except ValueError:
        first, begin, *rest = lines_of(record("unexpected error in %s", "data"))
    assert (first, begin) == ("unexpected error in data", "Traceback (most recent call last):")
    assert all(line.isprintable() for line in rest)
