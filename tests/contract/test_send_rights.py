"""Who may write as whom, as the directory has it; and what it costs to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.contract.asking import address, entry
from tests.contract.shapes import HELPDESK

if TYPE_CHECKING:
    from ldapmilter.directory.zimbra import MessageDirectory
    from tests.contract.backends import BackEnd

CENTRAL: Final = "central@rights.test"


def may_use(view: MessageDirectory, who: str, *texts: str) -> set[str]:
    """Return those addresses that an account may use."""
    return {*view.may_send_as(entry(view, who), [address(text) for text in texts])}


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        (HELPDESK, True),
        ("Help@Rights.test", True),
        ("own@rights.test", True),
        ("grouped@rights.test", True),
        ("boss@rights.test", False),
        ("nobody@rights.test", False),
        # By a list that they are in; what stands on their own entry is nearer.
        ("listed@rights.test", True),
        ("refused@rights.test", False),
        # One of the lists around it denies what the other grants, and the other right is not for lists inside.
        ("nested@rights.test", False),
        # By their domain; what stands on their own entry is nearer.
        ("office@rights.test", True),
        ("smart@rights.test", True),
        ("team@rights.test", False),
        # External accounts.
        ("helpdesk@gmail.test", True),
        ("old@gmail.test", False),
        ("boss@gmail.test", False),
        # What an administrator lists, and what Postfix writes in place of the address.
        ("desk@partner.test", True),
        ("desk@brand.test", True),
    ],
)
def test_whom_the_help_desk_may_write_as(view: MessageDirectory, target: str, *, allowed: bool) -> None:
    assert may_use(view, HELPDESK, target) == ({address(target).key} if allowed else set())


def test_a_grant_on_everybody(view: MessageDirectory) -> None:
    texts = ("boss@rights.test", "refused@rights.test", "nested@rights.test", "ann@example.test")
    assert may_use(view, CENTRAL, *texts) == {*texts}
    assert may_use(view, CENTRAL, "team@rights.test", "helpdesk@gmail.test") == set()


def test_what_it_costs(backend: BackEnd) -> None:
    with backend.opened() as opened:

        def cost(*texts: str) -> int:
            view = opened.directory.for_message()
            one, before = entry(view, HELPDESK), backend.log_position()
            counted = view.searches
            view.may_send_as(one, [address(text) for text in texts])
            if backend.server is not None:
                assert backend.log_position() - before == view.searches - counted
            return view.searches - counted

        cost(HELPDESK)  # the site, the account, its COS
        assert cost(HELPDESK, "help@rights.test") == 0
        # The entry that is named.
        assert cost("own@rights.test") == 1
        # The lists that grant anything, and the external accounts: once for all.
        assert cost("boss@rights.test") <= 1 + 1 + 2 + 1
        assert cost("boss@rights.test") == 0
        assert cost("own@rights.test", "boss@rights.test", "old@gmail.test", "x@outside.test") == 0
        assert cost("listed@rights.test") <= 1
