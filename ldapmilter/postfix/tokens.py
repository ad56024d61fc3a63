"""What Postfix reads in a text that is to hold addresses: its tokens, and the addresses that they make.

The value of an alias map, and so of a list member or a forward in the directory, is parsed as a header
field is (``mail_addr_crunch``, ``tok822_parse``): one value may hold several addresses, with or without
commas, with names, comments and groups around them. As there, the text is read from right to left. One
pass, which neither recurses nor looks back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\n]+)
    | (?P<comment>\()
    | \[(?P<literal>(?:[^\]\\]|\\.)*)\]?
    | "(?P<quoted>(?:[^"\\]|\\.)*)"?
    | (?P<operator>[|%!()<>@,;:.\]])
    | (?P<atom>(?:[^ \t\r\n|%!()<>@,;:.\[\]"\\]|\\.)+)
    | (?P<stray>\\)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_TOKEN = re.compile(r"[^()\\]+|\\.|[()\\]", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_BLANK = re.compile(r"[\t\r\n]")
_WORDS = frozenset({"word", "quoted", "literal"})
_ENDS_OF_PHRASE = frozenset(">;,:")


class Token(NamedTuple):
    """A word, or an operator."""

    kind: str
    """``word``, ``quoted``, ``literal``, ``comment``; an operator is its own kind."""
    text: str
    """As it stands in an address in internal form: without quotes and quoted pairs."""


def scan(text: str) -> Iterator[Token]:
    """Yield the tokens of a text (``tok822_scan``); blanks are none."""
    position = 0
    while token := _TOKEN.match(text, position):
        position = token.end()
        kind = token.lastgroup
        if kind == "comment":
            position = _comment_end(text, position)
            yield Token("comment", "")
        elif kind == "literal":
            yield Token("literal", f"[{_plain(token['literal'])}]")
        elif kind == "quoted":
            yield Token("quoted", _plain(token["quoted"]))
        elif kind == "atom":
            yield Token("word", _plain(token["atom"]))
        elif kind == "operator":
            yield Token(token.group(), token.group())


def _plain(text: str) -> str:
    return _BLANK.sub(" ", _QUOTED_PAIR.sub(r"\1", text))


def _comment_end(text: str, position: int) -> int:
    """Return where the comment that ``position`` is in ends, which may be the end of the text."""
    depth = 1
    while depth and (token := _COMMENT_TOKEN.match(text, position)):
        depth += {"(": 1, ")": -1}.get(token.group(), 0)
        position = token.end()
    return position


def groups_of(text: str) -> list[list[Token]]:
    """Return the tokens of each address in a text (``tok822_parse``), in their order."""
    found: list[list[Token]] = []
    held: list[Token] = []
    tokens = [token for token in scan(text) if token.kind != "comment"]
    word_due, in_group = True, False

    def close() -> None:
        if held:
            found.append(held[::-1])
            held.clear()

    position = len(tokens) - 1
    while position >= 0:
        token = tokens[position]
        if token.kind == ";":
            close()
            word_due = in_group = True
        elif token.kind == ":" and in_group:
            close()
            position = _skip(tokens, position, ",")
            continue
        elif token.kind == ">":
            close()
            opening = _skip(tokens, position, "<")
            held.extend(tokens[opening + 1 : position][::-1])
            close()
            position = _skip(tokens, opening, _ENDS_OF_PHRASE)
            word_due = True
            continue
        elif token.kind == ",":
            close()
            word_due = True
        else:
            is_word = token.kind in _WORDS
            if is_word and not word_due:
                close()
            held.append(token)
            word_due = not is_word
        position -= 1
    close()
    return found[::-1]


def _skip(tokens: Sequence[Token], position: int, kinds: Collection[str]) -> int:
    """Return where the first token of some kinds stands, to the left; before all of them, if there is none."""
    while position >= 0 and tokens[position].kind not in kinds:
        position -= 1
    return position
