"""What a message costs, counted by the server where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.asking import address, expansion, resolved
from tests.contract.crowd import EVERYBODY
from tests.contract.shapes import ANN, BOB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.directory.zimbra import MessageDirectory
    from ldapmilter.opening import OpenDirectory
    from tests.contract.backends import BackEnd

MANY = [f"user{number}@bulk.test" for number in range(50)]
LISTS = ["all@example.test", "umbrella@example.test", "partners@example.test", "dyn@example.test", "deep1@example.test"]


def _everything(view: MessageDirectory, texts: Sequence[str]) -> None:
    """Ask for all that a decision asks about recipients."""
    found = view.resolve([address(text) for text in texts])
    entries = list({entry.dn: entry for one in found.values() for entry in one.entries}.values())
    view.chains(entries)
    view.expand(entries)


def _cost(backend: BackEnd, opened: OpenDirectory, ask: Callable[[MessageDirectory], object]) -> int:
    """Return how many searches a question costs; what is told and what the server counted agree."""
    view, before = opened.directory.for_message(), backend.log_position()
    ask(view)
    if backend.server is not None:
        assert backend.log_position() - before == view.searches
    return view.searches


def _cold_cost(backend: BackEnd, ask: Callable[[MessageDirectory], object]) -> int:
    with backend.opened() as opened:
        return _cost(backend, opened, ask)


def test_fifty_recipients_cost_what_one_costs(backend: BackEnd) -> None:
    one = _cold_cost(backend, lambda view: _everything(view, MANY[:1]))
    assert _cold_cost(backend, lambda view: _everything(view, MANY)) == one


def test_fifty_recipients_in_an_alias_domain_cost_what_one_costs(backend: BackEnd) -> None:
    one = _cold_cost(backend, lambda view: _everything(view, ["nobody1@alias.test"]))
    assert _cold_cost(backend, lambda view: _everything(view, [f"nobody{n}@alias.test" for n in range(50)])) == one


def test_outsiders_add_nothing(backend: BackEnd) -> None:
    alone = _cold_cost(backend, lambda view: _everything(view, [ANN]))
    outsiders = [f"somebody@outside{number}.test" for number in range(50)]
    assert _cold_cost(backend, lambda view: _everything(view, [*outsiders, ANN])) == alone


def test_an_outsider_costs_no_search(backend: BackEnd) -> None:
    with backend.opened() as opened:
        _cost(backend, opened, lambda view: view.hosts("example.test"))
        assert _cost(backend, opened, lambda view: resolved(view, "somebody@outside.test")) == 0
        assert _cost(backend, opened, lambda view: view.sender(address("somebody@outside.test"))) == 0
        assert _cost(backend, opened, lambda view: view.login("somebody@outside.test")) == 0
        assert _cost(backend, opened, lambda view: view.hosts("outside.test")) == 0
        assert _cost(backend, opened, lambda view: view.is_mailbox_host("192.0.2.17")) == 0


def test_the_list_of_domains_is_one_search(backend: BackEnd) -> None:
    assert _cold_cost(backend, lambda view: view.hosts("example.test")) == 1


def test_several_lists_cost_little_more_than_the_dearest(backend: BackEnd) -> None:
    def cost(texts: Sequence[str]) -> int:
        return _cold_cost(backend, lambda view: _everything(view, texts))

    # One round for each level and kind of group; the lists share their rounds.
    assert cost(LISTS) <= max(cost([text]) for text in LISTS) + 2


def test_members_are_looked_up_in_chunks(backend: BackEnd) -> None:
    few = _cold_cost(backend, lambda view: expansion(view, "empty@example.test"))
    assert _cold_cost(backend, lambda view: expansion(view, EVERYBODY)) <= few + 30


def test_the_second_message_is_free(backend: BackEnd) -> None:
    texts = [ANN, BOB, *LISTS, "nobody@example.test", "nobody@other.test", "carl@example.test"]
    with backend.opened() as opened:
        assert _cost(backend, opened, lambda view: _everything(view, texts)) > 0
        assert _cost(backend, opened, lambda view: _everything(view, texts)) == 0


def test_known_login_costs_nothing_and_an_unknown_one_is_asked_again(backend: BackEnd) -> None:
    with backend.opened() as opened:
        _cost(backend, opened, lambda view: view.login(ANN))
        assert _cost(backend, opened, lambda view: view.login("Ann")) == 0
        assert _cost(backend, opened, lambda view: view.login("nobody@example.test")) >= 1
        # Past the negative cache: the account may have been made a minute ago.
        assert _cost(backend, opened, lambda view: view.login("nobody@example.test")) == 1


@pytest.mark.parametrize("text", ["nobody@example.test", "nobody@alias.test"])
def test_an_unknown_recipient_is_remembered(backend: BackEnd, text: str) -> None:
    with backend.opened() as opened:
        _cost(backend, opened, lambda view: resolved(view, text))
        assert _cost(backend, opened, lambda view: resolved(view, text)) == 0


def test_no_attribute_is_asked_for_that_policy_does_not_need(backend: BackEnd) -> None:
    with backend.opened() as opened:
        ann = resolved(opened.directory.for_message(), ANN).entry
    assert ann is not None
    assert not {"mail", "userpassword", "sn", "title", "zimbramailhost"} & set(ann.raw.attributes)


def test_every_transport_answers_messages_alike(transport: BackEnd) -> None:
    texts = [ANN, BOB, *LISTS, "nobody@other.test", *MANY]
    with transport.opened() as opened:
        cold = _cost(transport, opened, lambda view: _everything(view, texts))
        assert cold > 0
        assert _cost(transport, opened, lambda view: _everything(view, texts)) == 0
