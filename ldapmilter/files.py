"""Small files that others write: read whole, and never waited for.

Opening a FIFO blocks until another process writes, a device may never end. What is read while mail is
served is a regular file of a bounded size, or an error.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def read_regular(path: Path | str, most: int) -> tuple[bytes, os.stat_result]:
    """Return what a regular file of at most so many octets holds, and its status.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            what = "it is a directory" if stat.S_ISDIR(status.st_mode) else "it is not a regular file"
            raise OSError(errno.EINVAL, what, str(path))
        octets = _read(descriptor, most) if status.st_size <= most else None
    finally:
        os.close(descriptor)
    if octets is None:
        raise OSError(errno.EFBIG, f"it is larger than {most} octets", str(path))
    return octets, status


def why(error: Exception) -> str:
    """Return why a file cannot be used, without what Python adds: number, and the name of the file once more."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def text_of(octets: bytes) -> str:
    """Return the text that a file holds: UTF-8, with or without a byte order mark, its lines ended by LF or CR LF.

    Raises:
        ValueError: it is none; the message names line and octet, and the way out.
    """
    if octets.startswith(_UTF_16):
        msg = "line 1: is UTF-16; save it as UTF-8"
        raise ValueError(msg)
    octets = without_mark(octets)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"{_place(octets, error.start)} is not UTF-8; save the file as UTF-8 (iconv -f LATIN1 -t UTF-8)"
        raise ValueError(msg) from error
    text = text.replace("\r\n", "\n")
    for character, remedy in (("\0", "take it out"), ("\r", "end lines by LF, or by CR LF")):
        if character in text:
            encoded = text.encode("utf-8")
            msg = f"{_place(encoded, encoded.index(character.encode()))} is not text; {remedy}"
            raise ValueError(msg)
    return text


def without_mark(octets: bytes) -> bytes:
    """Return what follows the byte order mark of UTF-8, should there be one."""
    return octets.removeprefix(b"\xef\xbb\xbf")


def _place(octets: bytes, at: int) -> str:
    begins = octets.rfind(b"\n", 0, at) + 1
    return f"line {octets.count(bytes([10]), 0, at) + 1}: octet {at - begins + 1} (0x{octets[at]:02X})"


def version(path: Path | None) -> tuple[int, ...] | None:
    """Return what changes when a file is replaced or written to; ``None`` when there is none (at the moment)."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


def _read(descriptor: int, most: int) -> bytes | None:
    """Return what is there, or ``None`` when it has grown beyond a bound."""
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        octets = file.read(most + 1)
    return octets if len(octets) <= most else None
