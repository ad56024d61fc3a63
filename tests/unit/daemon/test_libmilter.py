"""What libmilter opens before a worker exists."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

# libmilter keeps its socket for a process's whole life, so each try is one of its own.
_RESERVE = "import sys; from ldapmilter.daemon import libmilter; print(libmilter.reserve(int(sys.argv[1])))"


def _reserve(family: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RESERVE, str(int(family))], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_it_is_one_descriptor(family: int) -> None:
    tried = _reserve(family)
    assert (tried.returncode, tried.stderr) == (0, "")
    assert int(tried.stdout) > 2


def test_another_daemon_that_starts_in_the_same_moment_is_no_hindrance() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as another:
        another.bind(b"\0" * 108)  # the place that libmilter takes for an empty path
        tried = _reserve(socket.AF_UNIX)
    assert tried.returncode == 0, tried.stderr
    assert int(tried.stdout) > 2
