"""What is asked of one LDAP server, and how that ends: an answer, a refusal, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ldapmilter.errors import DirectoryUnavailable, LdapmilterError

if TYPE_CHECKING:
    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Scope

Step = Literal["connect", "tls", "bind"]

SUCCESS = 0
SIZE_LIMIT_EXCEEDED = 4
REFERRAL = 10
NO_SUCH_OBJECT = 32


class ServerFailed(DirectoryUnavailable):
    """One server could not answer; another one may."""


class CannotConnect(ServerFailed):
    """A server could not be reached, secured or bound to; :attr:`step` says at which step."""

    def __init__(self, step: Step, reason: str, code: int | None = None, *, silent: bool = False) -> None:
        """Name the step, the reason, the LDAP result code of a refused bind, and whether there was no answer at all."""
        super().__init__(reason)
        self.step = step
        self.code = code
        self.silent = silent


class NoSuchBase(ServerFailed):
    """A server says that there is nothing below which it could search: it is well, its answer is none."""

    def __init__(self, said: str, base: str) -> None:
        """Name the base."""
        message = (
            f"search refused: {said}; {base or 'the root'} does not exist, or may not be seen any more:"
            " look at [ldap] search_base and the access rules"
        )
        super().__init__(message)


class HidesRights(ServerFailed):
    """A server does not show who may write as whom: it is well, and every other answer of its can be believed."""


class Refused(LdapmilterError):
    """The server answered, and said no; the text says to what and how."""


class Credentials(Struct, frozen=True, kw_only=True):
    """Who binds. Without a DN: over ``ldapi://`` the user that runs the process (SASL EXTERNAL), else anonymous."""

    dn: str = ""
    password: str = ""


class Question(Struct, frozen=True, kw_only=True):
    """One search, as it is sent."""

    base: str
    scope: Scope
    search_filter: Filter
    attributes: tuple[str, ...]


class Result(Struct, frozen=True, kw_only=True):
    """How an operation ended (RFC 4511 section 4.1.9)."""

    code: int
    text: str
    """The code in words, with what the server says."""


class Answer(Struct, frozen=True, kw_only=True):
    """The answer to one search, or one page of it."""

    result: Result
    entries: list[RawEntry]
    cookie: bytes = b""
    """What the next page is asked for with (RFC 2696 section 3); empty after the last one."""
