"""Text of a message or a directory, as it may stand on a terminal or in a log: shown, not obeyed.

Users choose their own names, and anyone can send mail. An escape character in them steers a terminal,
a line break begins a line that looks like another's, and what turns the direction of writing hides
what stands there.
"""

from __future__ import annotations

import json


def plain(text: str) -> str:
    r"""Return text in one line without any control character: what cannot be printed is spelt ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def plain_lines(text: str) -> str:
    """Return text whose line breaks are its own without any other control character."""
    return "\n".join(map(plain, text.split("\n")))


def plain_json(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON in its own script: of what cannot be printed, JSON itself spells the half only."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # Outside of its strings JSON has nothing that cannot be printed but these line breaks.
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )
