"""Whether the envelope sender of some message may have to change: which connections ask the MTA to allow it.

What an MTA allows is settled when a connection begins. Most directories have no list with an address for
bounces; there nothing is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.names import LIST_BOUNCES
from ldapmilter.directory.keys import SITE

if TYPE_CHECKING:
    from ldapmilter.daemon.active_configuration import ActiveConfiguration
    from ldapmilter.directory.site import Site


class SenderChanges:
    """What one worker knows of lists with an address for bounces."""

    def __init__(self) -> None:
        """Have met none."""
        self._met: Site | None = None
        """What was known of the site when a message came whose envelope sender was to change."""
        self._known: tuple[ActiveConfiguration, int, bool] | None = None
        """What was found last, under which configuration, at which of the cache's counts of changes."""

    def may_come(self, active: ActiveConfiguration) -> bool:
        """Whether a message may come whose envelope sender is to change; never waits.

        While nothing is known of the site yet, one may.
        """
        changes, known = active.opened.cache.changes, self._known
        if known is not None and known[0] is active and known[1] == changes:
            return known[2]
        site = _site(active)
        found = self._find_out(active, site)
        if site is not None:
            self._known = active, changes, found
        return found

    def _find_out(self, active: ActiveConfiguration, site: Site | None) -> bool:
        lists = active.config.policy.lists
        if not lists.changes_sender:
            return False
        if any(name.lower() != LIST_BOUNCES.lower() for name in lists.bounces_attributes):
            return True
        return site is None or site.has_list_bounces or self._met is site

    def met(self, active: ActiveConfiguration) -> None:
        """Take note of such a message: a list got its address after the site was read."""
        self._met, self._known = _site(active), None


def _site(active: ActiveConfiguration) -> Site | None:
    """Return what is remembered of the site, of whatever age, without asking."""
    slot = active.opened.cache.held([SITE], stale=True).slots.get(SITE)
    site: Site | None = slot.value if slot is not None else None
    return site
