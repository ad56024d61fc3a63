"""The configuration in force: what a message is decided by, with the directory opened by it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import force_setattr

from ldapmilter.opening import OpenDirectory, open_directory
from ldapmilter.policy.decide import decide, decide_whole
from ldapmilter.policy.why_not import why_not

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from ldapmilter.config import Config
    from ldapmilter.directory.interface import RememberingDirectory
    from ldapmilter.directory.zimbra import MessageDirectory
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.basis import Basis
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.not_applied import NotApplied


class ActiveConfiguration(Struct, frozen=True, kw_only=True):
    """One configuration, and the directory opened by it."""

    config: Config
    opened: OpenDirectory
    switched_off: bool = False
    """Whether no message needs a decision."""

    def __post_init__(self) -> None:
        """Work out once what every message asks."""
        force_setattr(self, "switched_off", self.config.policy.switched_off())

    @classmethod
    def of(cls, config: Config, before: ActiveConfiguration | None = None) -> ActiveConfiguration:
        """Open the directory of a configuration, or keep the previous one with its cache, where it fits.

        Raises:
            ConfigError: the directory cannot be opened as configured.
        """
        if before is not None and not before.opened.embedded and same_directory(config, before.config):
            return cls(config=config, opened=before.opened)
        return cls(config=config, opened=open_directory(config))

    def decide(self, envelope: Envelope, headers: Headers | None, basis: Basis | None = None) -> Decision:
        """Return the decision for a message of today; without headers, as far as they do not matter.

        Args:
            envelope: what the MTA said before the header.
            headers: the header fields that were asked for; ``None`` at DATA.
            basis: the message's own, for both calls.
        """
        policy, today = self.config.policy, _today()
        view = self._view(lambda again: decide(envelope, again, policy, today=today, headers=headers))
        return decide(envelope, view, policy, today=today, headers=headers, basis=basis)

    def explain(self, envelope: Envelope, headers: Headers, basis: Basis) -> Decision:
        """Return the whole decision for a message that is not on its way."""
        basis.forget()
        policy, today = self.config.policy, _today()
        view = self._view(lambda again: decide_whole(envelope, headers, again, policy, today=today))
        return decide_whole(envelope, headers, view, policy, today=today, basis=basis)

    def why_not(self, decision: Decision, basis: Basis) -> tuple[NotApplied, ...]:
        """Return why the rest does not happen."""
        return why_not(decision, basis, self.config.policy, _today())

    def _view(self, whole: Callable[[RememberingDirectory], object]) -> MessageDirectory:
        """Return the view of one message, of which everything is read in the background once anything has to be."""
        return self.opened.directory.for_message(lenient=self.config.policy.directory_failure == "accept", whole=whole)


def _today() -> date:
    """Return the day for ``until``, which is one of UTC."""
    return datetime.now(timezone.utc).date()


def same_directory(one: Config, other: Config) -> bool:
    """Tell whether what is known of the directory under one configuration is right under another."""
    return (one.ldap, one.cache, one.groups, one.policy.attributes()) == (
        other.ldap,
        other.cache,
        other.groups,
        other.policy.attributes(),
    )
