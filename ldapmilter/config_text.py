"""``config.ini`` as text: read, taken apart into sections, and searched for the control socket.

Apart from :mod:`ldapmilter.config`, which knows what every option means: a verb that only asks the
daemon has to start fast, and to work while another option has a mistake.
"""

from __future__ import annotations

import configparser
import contextlib
import zlib

from ldapmilter.errors import ConfigError
from ldapmilter.files import read_regular, text_of, without_mark
from ldapmilter.who_may import READ, user_name, who_may

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_PATH = "/etc/ldapmilter/config.ini"
DEFAULT_CONTROL = "/run/ldapmilter/control.sock"
CONTROL_ALLOWED = "the absolute path of a unix socket, of at most 107 bytes, or nothing"

_MAX_FILE = 1 << 20
# sockaddr_un.sun_path holds 108 bytes on Linux, the last one NUL.
MAX_UNIX_PATH = 107


def read(file: Path | str) -> str:
    """Return the text of a configuration file.

    Raises:
        ConfigError: it cannot be read, is not a regular file or a very large one, or is not text.
    """
    text, problem = read_anyhow(file)
    if problem is not None:
        raise ConfigError(problem)
    return text


def read_anyhow(file: Path | str) -> tuple[str, str | None]:
    """Return the text of a configuration file, and why it is none: a verb may find the daemon in it all the same.

    Raises:
        ConfigError: it cannot be read, is not a regular file or a very large one.
    """
    try:
        octets = read_regular(file, _MAX_FILE)[0]
    except PermissionError as error:
        msg = f"{file}: user {user_name()} may not read it: {who_may(file, READ)}"
        raise ConfigError(msg) from error
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}; --config has to name the file"
        raise ConfigError(msg) from error
    try:
        return text_of(octets), None
    except ValueError as error:
        return without_mark(octets).decode("utf-8", "surrogateescape"), f"{file}: {error}"


def digest(text: str) -> str:
    """Return what tells one text from another: the daemon says by it which one it runs with.

    A checksum suffices: no one gains by two texts with one digest, and it costs a verb no time to load.
    """
    return f"{len(text)}-{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def other_socket(file: Path | str, wanted: str, running: str) -> str:
    """Return why a reload does not take over a file with another milter socket."""
    return (
        f"{file}: [milter] socket = {wanted}: a running daemon keeps its socket {running};"
        " restart it to listen elsewhere"
    )


def sections(text: str, file: Path | str) -> dict[str, dict[str, str]]:
    """Return the options of every section; names in lower case.

    Raises:
        ConfigError: the text is not an INI file, or has a section or an option twice.
    """
    parser = _parser(strict=True)
    try:
        parser.read_string(text, source=str(file))
    except configparser.Error as error:
        msg = f"{file}: {_mistake(error)}"
        raise ConfigError(msg) from error
    found: dict[str, dict[str, str]] = {}
    for name in parser.sections():
        section = _section_name(name)
        if section in found:
            msg = f"{file}: [{name}]: the section [{section}] is there twice"
            raise ConfigError(msg)
        found[section] = dict(parser[name])
    return found


def _mistake(error: configparser.Error) -> str:
    """Return what is wrong with the text, and where, without the line itself: the file may be one with a secret.

    What configparser says names the file again, and quotes the line.
    """
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: [{error.section}] {error.option} is there twice; leave one of them"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: the section [{error.section}] is there twice; put its options together"
    if isinstance(error, configparser.MissingSectionHeaderError):
        if error.line.lstrip().startswith("["):
            return f"line {error.lineno} is no section; write [NAME]"
        return f"line {error.lineno} stands before the first section; write [NAME] above it"
    for number, _ in getattr(error, "errors", ()):
        return f"line {number} is no option; write NAME = VALUE"
    return " ".join(str(error).split())


def control_socket(text: str) -> str:
    """Return the value of ``[control] socket``, whatever is wrong elsewhere in the text."""
    parser = _parser(strict=False)
    with contextlib.suppress(configparser.ParsingError):  # raised at the end, when all else has been read
        # The added section takes the lines that stand before the first one.
        parser.read_string(f"[before the first]\n{text}")
    value = DEFAULT_CONTROL
    for name in parser.sections():
        if _section_name(name) == "control":
            value = parser[name].get("socket", value)
    return value


def unix_path(value: str) -> str:
    """Return the path of a unix socket (``unix:`` before it is fine), or nothing.

    Raises:
        ValueError: it is none; the message completes "allowed is ...".
    """
    path = value.removeprefix("unix:")
    fits = path.startswith("/") and not path.endswith("/") and "\0" not in path
    if value and not (fits and len(path.encode("utf-8", "surrogateescape")) <= MAX_UNIX_PATH):
        raise ValueError(CONTROL_ALLOWED)
    return path


def _parser(*, strict: bool) -> configparser.ConfigParser:
    return configparser.ConfigParser(
        interpolation=None,
        inline_comment_prefixes=(";",),
        default_section="\0",
        empty_lines_in_values=False,
        strict=strict,
    )


def _section_name(name: str) -> str:
    return " ".join(name.split()).lower()
