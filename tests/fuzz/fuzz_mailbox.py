"""Coverage-guided fuzzing of everything that reads text from outside.

Not run by pytest.  It needs atheris, which is no dependency of the project; in a virtual environment
of its own, from the root of the project:

    python -m venv FUZZ && FUZZ/bin/pip install atheris
    FUZZ/bin/python -m tests.fuzz.fuzz_mailbox read_from -max_total_time=120 -max_len=4096 -timeout=5

The first word names the target (all of them in turn by the first octet of the input when it is
``all``); what follows goes to libFuzzer, directories for the corpus among it.  A finding is an
exception other than the one that the function promises, a broken property, or an input that takes
more seconds than ``-timeout``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Final

from ldapmilter.address import make_address, parse_address
from ldapmilter.directory.backend import filters, ldif
from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import MAX_MAILBOXES, read_from
from ldapmilter.mailbox.writing import clean_display_name, fold, header_value
from ldapmilter.policy import rules
from ldapmilter.policy.when import parse_when
from tests.support.filter_text import render

if TYPE_CHECKING:
    from collections.abc import Callable

    Target = Callable[[bytes], None]

_ANN: Final = make_address("ann", "example.com")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def fuzz_read_from(data: bytes) -> None:
    """A header of one or several fields: what is read can be written and is read again."""
    values = _text(data).split("\x00")
    header = read_from(values)
    assert header.count == len(values)
    assert len(header.mailboxes) <= MAX_MAILBOXES
    assert header.unreadable or len(header.mailboxes) >= len(values)
    for mailbox in header.mailboxes[:5]:
        assert clean_display_name(mailbox.display_name) == mailbox.display_name
        _written_and_read(mailbox.display_name, mailbox.address.text)


def fuzz_header_value(data: bytes) -> None:
    """A display name and an address that come out as one mailbox, in lines that may be sent."""
    name, _, address = _text(data).partition("\x00")
    _written_and_read(name, address or _ANN.text)


def _written_and_read(name: str, text: str) -> None:
    address = parse_address(text)
    if address is None:
        return
    try:
        value = header_value(name, address)
    except InvalidValue:
        assert not address.text.isascii()
        return
    folded = fold("From", value)
    assert all(0 < len(line.strip()) <= 998 for line in folded.split("\n"))
    header = read_from([folded])
    assert not header.unreadable
    (only,) = header.mailboxes
    assert (only.display_name, only.address, only.address.text) == (clean_display_name(name), address, address.text)


def fuzz_parse_address(data: bytes) -> None:
    """An address is one line without controls, and its text means itself."""
    address = parse_address(_text(data))
    if address is None:
        return
    assert "\n" not in address.text
    assert "\r" not in address.text
    again = parse_address(address.text)
    # Escapes and an IDN in ACE form may make the text longer than an address may be.
    assert again == address or len(address.text) > 256


def fuzz_rules(data: bytes) -> None:
    """A policy value is refused with one exception, or used without another."""
    text = _text(data)
    for parse in (parse_when, rules.parse_mailbox):
        with contextlib.suppress(InvalidValue):
            parse(text)
    try:
        copy = rules.parse_copy(text)
    except InvalidValue:
        pass
    else:
        if isinstance(copy, rules.CopyRule):
            address = copy.address_for(_ANN)
            assert address.is_readable
            assert parse_address(address.text) == address
    try:
        rule = rules.parse_sender_rule(text)
    except InvalidValue:
        return
    name, address = rule.mailbox.render(sender=_ANN, display_name="Ann", from_name='"x" <y@z.example>,')
    _written_and_read(name, address.text)


def fuzz_ldif(data: bytes) -> None:
    """An LDIF file is read, or refused with one exception."""
    try:
        entries = ldif.parse(_text(data))
    except ValueError:
        return
    ldif.LdifStore(entries)


def fuzz_filters(data: bytes) -> None:
    """A filter is refused, or means the same when it is written and read again."""
    try:
        search_filter = filters.parse(_text(data))
    except ValueError:
        return
    assert filters.parse(render(search_filter)) == search_filter
    for entry in ldif.parse("dn: uid=a\nuid: a\ncn: b c\n"):
        filters.matches(search_filter, entry)


TARGETS: Final[dict[str, Target]] = {
    "read_from": fuzz_read_from,
    "header_value": fuzz_header_value,
    "parse_address": fuzz_parse_address,
    "rules": fuzz_rules,
    "ldif": fuzz_ldif,
    "filters": fuzz_filters,
}


def fuzz_all(data: bytes) -> None:
    """Let the first octet choose."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])


def main(arguments: list[str]) -> int:
    """Fuzz one target until libFuzzer ends the process."""
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("atheris is not installed; see the top of this file\n")
        return 2
    target = {**TARGETS, "all": fuzz_all}.get(arguments[1] if len(arguments) > 1 else "")
    if target is None:
        sys.stderr.write(f"the first argument names the target: {', '.join([*TARGETS, 'all'])}\n")
        return 2
    atheris = importlib.import_module("atheris")
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and str(function.__module__).startswith("ldapmilter."):
            atheris.instrument_func(function)
    atheris.Setup([arguments[0], *arguments[2:]], target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
