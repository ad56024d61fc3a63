"""What becomes of a copy, for every step and every answer."""

from __future__ import annotations

import pytest

from ldapmilter.relay.answers import STEPS, ServerAnswer, Step, becomes, decisive, table


def answer(step: Step, code: int | None, server: str = "smtp:[a.example]:25") -> ServerAnswer:
    return ServerAnswer(server=server, step=step, code=code)


@pytest.mark.parametrize("step", ["rcpt", "data", "end"])
@pytest.mark.parametrize("code", [500, 550, 552, 554, 571])
def test_only_the_copy_itself_is_refused(step: Step, code: int) -> None:
    assert becomes(step, code) == "refused"


@pytest.mark.parametrize("step", ["connect", "banner", "hello", "tls", "mail"])
@pytest.mark.parametrize("code", [421, 450, 451, 500, 530, 550, 554])
def test_a_server_that_serves_nobody_refuses_no_copy(step: Step, code: int) -> None:
    assert becomes(step, code) == "next hop"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("code", [None, 421, 400, 452, 199, 600])
def test_what_passes_or_is_in_doubt_is_not_through(step: Step, code: int | None) -> None:
    assert becomes(step, code) == "next hop"


@pytest.mark.parametrize("step", ["banner", "hello", "tls", "mail", "rcpt"])
def test_a_session_goes_on(step: Step) -> None:
    assert becomes(step, 250) == "goes on"
    assert becomes(step, 354) == "next hop"


def test_data_wants_354_and_the_final_dot_250() -> None:
    assert becomes("data", 354) == "goes on"
    assert becomes("data", 250) == "next hop"
    assert becomes("end", 250) == "accepted"
    assert becomes("end", 354) == "next hop"


@pytest.mark.parametrize("step", STEPS)
def test_down_is_a_server_that_falls_silent(step: Step) -> None:
    assert ServerAnswer(server="smtp:[a.example]:25", step=step, silent=True).hop_is_down


def test_down_is_a_server_that_greets_nobody() -> None:
    assert answer("connect", None).hop_is_down
    assert answer("banner", None).hop_is_down
    assert not answer("tls", None).hop_is_down
    assert not answer("banner", 421).hop_is_down
    assert not answer("mail", 451).hop_is_down
    assert not answer("end", None).hop_is_down
    assert not answer("hello", 250).hop_is_down


def test_the_answer_that_counts() -> None:
    away, later, refused = answer("connect", None, "a"), answer("rcpt", 451, "b"), answer("rcpt", 550, "c")
    assert decisive([later, away]) == later
    assert decisive([away, later]) == later
    assert decisive([away, later, refused]) == refused
    assert decisive([later, answer("end", 250, "d")]).server == "d"
    assert decisive([answer("connect", None, "a"), answer("end", None, "b")]).server == "b"


def test_the_table_names_every_answer_of_every_step() -> None:
    rows = table()
    assert ("RCPT", "5xx", "refused: kept, and reported") in rows
    assert ("MAIL", "2xx", "goes on") in rows
    assert [row for row in rows if row[2] == "accepted"] == [("the message, up to the final dot", "2xx", "accepted")]
    assert len({(step, name) for step, names, _ in rows for name in names.split(", ")}) == 7 * 7 + 2
