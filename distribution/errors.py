"""Why nothing can be packaged."""

from __future__ import annotations


class CannotPackage(Exception):
    """Something that is needed is missing, or what was made is not as it has to be; the text says what to do."""
