"""The list of milters as the registration scripts change it: only ever by their own entry."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ports import HANG

SCRIPTS: Final = Path(__file__).resolve().parents[3] / "scripts"
OURS: Final = "inet:127.0.0.1:8800"
A, B, C = "inet:localhost:8891", "unix:/run/a.sock", "{ inet:10.0.0.1:9000, default_action=accept, connect_timeout=5s }"


def run(function: str, *arguments: str) -> tuple[int, str]:
    """Return the function's status and $result."""
    script = f'. {SCRIPTS}/milter_list.bash; {function} "$@"; status=$?; printf "%s" "$result"; exit $status'
    command = ["bash", "-uc", script, "bash", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("value", "place", "result"),
    [
        ("", (), OURS),
        (A, (), f"{A}, {OURS}"),
        (f"{A} {B}", (), f"{A} {B}, {OURS}"),
        (f"{A},{B}", ("last",), f"{A},{B}, {OURS}"),
        (f"{A},{B}", ("first",), f"{OURS}, {A},{B}"),
        (f"{A}, {B}", ("before", B), f"{A}, {OURS}, {B}"),
        (f"{A}, {B}", ("after", A), f"{A}, {OURS}, {B}"),
        (f"{A}, {B}", ("before", A), f"{OURS}, {A}, {B}"),
        (f"{A}, {B}", ("after", B), f"{A}, {B}, {OURS}"),
        # In braces a blank or a comma separates nothing.
        (C, (), f"{C}, {OURS}"),
        (f"{C} {A}", ("after", "inet:10.0.0.1:9000"), f"{C}, {OURS} {A}"),
        # There already: it stays, however it is spelled.
        (f"{OURS}, {A}", (), f"{OURS}, {A}"),
        (f"{OURS} {A}", (), f"{OURS} {A}"),
        (f"{{ {OURS}, default_action=accept }} {A}", (), f"{{ {OURS}, default_action=accept }} {A}"),
        (f"{{{OURS}}}", (), f"{{{OURS}}}"),
        # A second mention goes, Postfix would ask twice.
        (f"{OURS}, {A}, {OURS}", (), f"{OURS}, {A}"),
        # A place that is asked for is kept to, and the options move with the entry.
        (f"{OURS}, {A}", ("last",), f"{A}, {OURS}"),
        (f"{A}, {OURS}", ("first",), f"{OURS}, {A}"),
        (f"{A} {OURS}", ("last",), f"{A} {OURS}"),
        (f"{{ {OURS} }}, {A}, {OURS}", ("last",), f"{A}, {{ {OURS} }}"),
        (f"{A}, {B}, {OURS}", ("before", B), f"{A}, {OURS}, {B}"),
        (f"{A}, {OURS} {B}", ("before", B), f"{A}, {OURS} {B}"),
        # Others that only look like it are others.
        ("inet:127.0.0.1:88001", (), f"inet:127.0.0.1:88001, {OURS}"),
        ("inet:1127.0.0.1:8800", (), f"inet:1127.0.0.1:8800, {OURS}"),
    ],
)
def test_our_entry_is_put_in(value: str, place: tuple[str, ...], result: str) -> None:
    assert run("with_milter", value, OURS, *place) == (0, result)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_neighbour_that_is_not_there_is_an_error(place: str) -> None:
    assert run("with_milter", A, OURS, place, B)[0] == 1


@pytest.mark.parametrize("value", ["{ inet:10.0.0.1:9000", f"{A}, {{ {OURS}"])
def test_a_brace_that_stays_open_is_an_error(value: str) -> None:
    assert run("with_milter", value, OURS)[0] == 1
    assert run("without_milter", value, OURS) == (1, value)


@pytest.mark.parametrize(
    ("value", "status", "result"),
    [
        (OURS, 0, ""),
        (f" {OURS}, ", 0, ""),
        (f"{A}, {OURS}", 0, A),
        (f"{OURS}, {A}", 0, A),
        (f"{A} {OURS} {B}", 0, f"{A} {B}"),
        (f"{A}, {{ {OURS}, default_action=accept }}", 0, A),
        (f"{OURS}, {A}, {OURS}", 0, A),
        ("local:/run/a.sock", 1, "local:/run/a.sock"),
        ("", 1, ""),
        (C, 1, C),
    ],
)
def test_our_entry_is_taken_out(value: str, status: int, result: str) -> None:
    assert run("without_milter", value, OURS) == (status, result)


def test_local_is_unix() -> None:
    assert run("without_milter", f"local:/run/a.sock {A}", B) == (0, A)


def test_the_case_of_a_host_name_does_not_count_and_that_of_a_path_does() -> None:
    assert run("without_milter", "inet:MX1.example.test:8800", "inet:mx1.Example.test:8800") == (0, "")
    assert run("without_milter", "unix:/run/A.sock", "unix:/run/a.sock")[0] == 1


@settings(max_examples=40, deadline=None)
@given(
    milters=st.lists(st.sampled_from([A, B, C, "inet:[::1]:8025", "unix:/x"]), max_size=4),
    separator=st.sampled_from([",", " ", ", ", " ,  "]),
    around=st.sampled_from([("", ""), (" ", ""), ("", ","), (", ", " ")]),
    place=st.sampled_from(["", "first", "last"]),
)
def test_taken_out_again_nothing_is_left(
    milters: list[str], separator: str, around: tuple[str, str], place: str
) -> None:
    value = around[0] + separator.join(milters) + around[1] if milters else ""
    status, result = run("with_milter", value, OURS, place)
    assert status == 0
    assert run("without_milter", result, OURS) == (0, value)


@pytest.mark.parametrize(
    ("value", "wanted", "status"),
    [
        (f"{A}, {OURS}, inet:127.0.0.1:7026", f"{A} {OURS}", 0),
        (f"{OURS}, {A}, inet:127.0.0.1:7026", f"{A} {OURS}", 1),
        (f"{A}, inet:127.0.0.1:7026", f"{A}, {OURS}", 1),
        ("", OURS, 1),
        ("", "", 0),
    ],
)
def test_what_postfix_has_is_compared_in_order(value: str, wanted: str, status: int) -> None:
    assert run("in_order", value, wanted)[0] == status
