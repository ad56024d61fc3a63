"""What every verb's exit status means: for ``--help``, and for the guide, whose table a test holds against this one."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FINE = 0
PROBLEM = 1
USAGE = 2
"""Wrong usage, or a configuration that cannot be used."""
DIRECTORY_UNAVAILABLE = 3
DAEMON_UNREACHABLE = 4

_NO_DAEMON = "the daemon does not answer, or this user may not ask it"

MEANINGS: "Mapping[str, Mapping[int, str]]" = {
    "run": {FINE: "ended by SIGTERM or SIGINT", PROBLEM: "it cannot start, or another one runs already"},
    "relay": {FINE: "ended by SIGTERM or SIGINT", PROBLEM: "it cannot start, or its socket is in use"},
    "explain": {
        FINE: "the message is accepted",
        PROBLEM: "it is refused, or has to wait",
        DIRECTORY_UNAVAILABLE: "the directory cannot be asked, or not about everything",
        DAEMON_UNREACHABLE: f"with --live: {_NO_DAEMON}",
    },
    "probe": {
        FINE: "the message was accepted",
        PROBLEM: "it was refused, or has to wait",
        DAEMON_UNREACHABLE: "the milter does not answer, or this user may not ask it",
    },
    "trace": {
        FINE: "shown",
        PROBLEM: "no such message is remembered, or a worker does not answer",
        DAEMON_UNREACHABLE: _NO_DAEMON,
    },
    "check": {
        FINE: "nothing above a note",
        PROBLEM: "a warning or a problem",
        DIRECTORY_UNAVAILABLE: "the directory cannot be asked (not with --config-only)",
        DAEMON_UNREACHABLE: "the daemon does not answer, and nothing else is a problem",
    },
    "config": {FINE: "printed", DAEMON_UNREACHABLE: f"with --live: {_NO_DAEMON}"},
    "status": {
        FINE: "nothing is wrong",
        PROBLEM: "something is, in the lines PROBLEM",
        DAEMON_UNREACHABLE: _NO_DAEMON,
    },
    "cache flush": {
        FINE: "forgotten in every worker",
        PROBLEM: "the directory has no such COS, domain or address; or a worker did not confirm and was killed",
        DIRECTORY_UNAVAILABLE: "whether the directory has what was named cannot be asked",
        DAEMON_UNREACHABLE: _NO_DAEMON,
    },
    "cache stats": {FINE: "shown", DAEMON_UNREACHABLE: _NO_DAEMON},
    "cache show": {FINE: "shown", PROBLEM: "a worker does not answer", DAEMON_UNREACHABLE: _NO_DAEMON},
    "audit find": {
        FINE: "found, and everything was read",
        PROBLEM: "nothing was found, or something could not be read",
    },
    "audit verify": {
        FINE: "whole and unchanged, or not sealed: no seal is there",
        PROBLEM: "the place that is named does not hold, or a seal that was given is not there",
    },
    "copies": {
        FINE: "nothing is late or kept; what was asked for is shown, or done",
        PROBLEM: "something is late, kept or does not come; no such copy is known, or it could not be changed",
        DAEMON_UNREACHABLE: "to be changed: the relay does not answer, or this user may not ask it",
    },
    "coverage": {
        FINE: "the report is whole",
        PROBLEM: "it is, and holds values that cannot be used (with --uncovered: or entries without a copy);"
        " of other days: what is looked for is not there, or copies were lost",
        DIRECTORY_UNAVAILABLE: "the directory cannot be asked to the end; nothing is written",
    },
    "schema": {
        FINE: "printed, or done and verified",
        PROBLEM: "something is refused, does not hold, or is left over",
        DIRECTORY_UNAVAILABLE: "the server cannot be asked",
    },
}
"""By verb and action; 2 means the same for all."""


def told(verb: str) -> str:
    """Return what the exit status of a verb means, for its ``--help``."""
    meanings = {**MEANINGS[verb], USAGE: "wrong usage, or a configuration that cannot be used"}
    return "exit status: " + "; ".join(f"{status} {meanings[status]}" for status in sorted(meanings))
