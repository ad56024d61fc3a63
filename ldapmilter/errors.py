"""Every error that ldapmilter raises on purpose, in one small tree.

The distinction that everything rests on: *absent* is a value (``None``, an empty tuple), *could
not ask* is :class:`DirectoryUnavailable`. No function returns ``None`` for the second.
"""

from __future__ import annotations


class LdapmilterError(Exception):
    """The root: anything that ldapmilter raises on purpose."""


class ConfigError(LdapmilterError):
    """The configuration cannot be used; the text names file, section, option, value and the way out."""


class SecretForbidden(ConfigError):
    """A file with a password may not be read by this user; others may, as the text says."""


class InvalidValue(LdapmilterError):
    """A policy value in the directory breaks the grammar; the text says how."""


class DirectoryUnavailable(LdapmilterError):
    """The directory could not be asked (never: the directory said no)."""


class DeadlineExceeded(DirectoryUnavailable):
    """The directory did not answer within ``[ldap] lookup_deadline``."""


class TooLarge(DirectoryUnavailable):
    """More would have to be read than one message may: it is read in the background (:mod:`.directory.cache.loads`)."""


class StillReading(DirectoryUnavailable):
    """A group is being read in the background and is not through yet; the text says which, and how far."""

    confidential = False
    """Whether only a confidential value looks at that group."""


class AmbiguousEntry(DirectoryUnavailable):
    """Two entries answer to one login: which of them sends cannot be known."""


class DaemonUnreachable(LdapmilterError):
    """The running milter could not be reached, or did not speak the milter protocol."""


class AuditError(LdapmilterError):
    """The audit file cannot be opened, written or read; the text names the file and the way out."""


class AuditStalled(AuditError):
    """The disk of the audit file did not answer in time."""
