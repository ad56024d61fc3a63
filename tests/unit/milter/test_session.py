"""The callbacks, called as libmilter calls them: what is answered, kept, forgotten and carried out."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import milter
import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.message import Envelope, HandledMessage, Headers, Identity
from ldapmilter.milter.callbacks import register
from ldapmilter.milter.session import reply
from ldapmilter.policy.effect import Copy, CopyReason, FromChange, HeaderChange, SenderChange
from ldapmilter.policy.model import TEMPFAIL_REPLY, Decision
from tests.unit.policy.test_new_kind import tagged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ldapmilter.policy.basis import Basis
    from ldapmilter.policy.effect import Mode

ALL_ACTIONS = 0x1FF
ALL_STEPS = 0x1FFFFF
NOBODY = Identity(source="none")
NOTHING = Decision(identity=NOBODY)
REASON = CopyReason(level="cos", dn="cn=a", attribute="x", value="v@keep.test", copy_class="archive", direction="sent")
COPIES = Decision(identity=NOBODY, copies=(Copy(address=make_address("v", "keep.test"), reasons=(REASON,)),))
CHANGE = FromChange(value="Legal <legal@example.test>", cause="rewrite", reasons=())
REWRITE = Decision(identity=NOBODY, from_change=CHANGE)
BOTH = Decision(identity=NOBODY, from_change=CHANGE, copies=COPIES.copies)
WAITS = Decision(identity=NOBODY, verdict="tempfail", smtp_reply=TEMPFAIL_REPLY)
REFUSED = Decision(identity=NOBODY, verdict="reject", smtp_reply="550 5.7.1 This From is not yours: 100% sure")
TEMPFAIL = ("451", "4.3.0")


class Daemon:
    """Decides as it was told, and takes everything down."""

    def __init__(self, *decisions: Decision | BaseException | None) -> None:
        self.decisions = list(decisions)
        self.asked: list[tuple[Envelope, Headers | None]] = []
        self.noted: list[tuple[str, Envelope, Decision]] = []
        self.handled: list[HandledMessage] = []
        self.keeps_message_ids = False
        self.changes_sender = False
        self.replaces = True
        self.failures = 0
        self.settles: Decision | None = None
        self.settled: list[tuple[HandledMessage, Decision]] = []
        self.given_up: list[tuple[str, BaseException]] = []
        self.sessions = 0
        self.began = self.ended = 0
        self.most_in_flight = 0
        self.bases: list[Basis] = []

    def decide(self, envelope: Envelope, headers: Headers | None, basis: Basis) -> Decision | None:
        self.asked.append((envelope, headers))
        self.bases.append(basis)
        answer = self.decisions.pop(0) if len(self.decisions) > 1 else self.decisions[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def settle(self, message: HandledMessage, decision: Decision) -> Decision:
        self.settled.append((message, decision))
        return decision if self.settles is None else self.settles

    def done(self, message: HandledMessage, decision: Decision) -> None:
        self.handled.append(message)
        self.noted.append((message.queue_id, message.envelope, decision))

    def gave_up(self, message: HandledMessage, error: BaseException) -> None:
        self.given_up.append((message.queue_id, error))

    def failed(self) -> None:
        self.failures += 1

    @property
    def in_flight(self) -> Daemon:
        return self

    def session_began(self) -> None:
        self.sessions += 1

    def session_ended(self) -> None:
        self.sessions -= 1

    def message_began(self) -> int:
        self.began += 1
        self.most_in_flight = max(self.most_in_flight, self.began - self.ended)
        return self.began

    def message_ended(self, epoch: int) -> None:
        assert epoch == self.began
        self.ended += 1
        assert self.ended <= self.began

    def replaces_recipients(self) -> bool:
        return self.replaces


class Context:
    """What the callbacks see of libmilter."""

    def __init__(self) -> None:
        self.macros: dict[str, str | UnicodeDecodeError] = {"i": "4QID"}
        self.calls: list[tuple[Any, ...]] = []
        self.replies: list[tuple[str, ...]] = []
        self.symbols: dict[int, str] = {}
        self._private: object = None

    def setpriv(self, value: object) -> None:
        self._private = value

    def getpriv(self) -> object:
        return self._private

    def getsymval(self, name: str) -> str | None:
        value = self.macros.get(name)
        if isinstance(value, UnicodeDecodeError):
            raise value
        return value

    def setreply(self, code: str, extended: str, *lines: str) -> None:
        # libmilter takes each line for a format.
        self.replies.append((code, extended, *(line.replace("%%", "%") for line in lines)))

    def setsymlist(self, stage: int, names: str) -> None:
        self.symbols[stage] = names

    def chgheader(self, name: str, index: int, value: str | None) -> None:
        self.calls.append(("chgheader", name, index, value))

    def addheader(self, name: str, value: str, index: int = -1) -> None:
        self.calls.append(("addheader", name, value, index))

    def chgfrom(self, sender: str) -> None:
        self.calls.append(("chgfrom", sender))

    def delrcpt(self, recipient: str) -> None:
        self.calls.append(("delrcpt", recipient))

    def addrcpt(self, recipient: str, parameters: str | None = None) -> None:
        self.calls.append(("addrcpt", recipient, parameters))


class Connection:
    """libmilter's side of one connection."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        daemon: Daemon,
        *,
        actions: int = ALL_ACTIONS,
        steps: int = ALL_STEPS,
        peer: object = ("192.0.2.7", 4321),
    ) -> None:
        self.daemon = daemon
        self.context = Context()
        self.callbacks: dict[str, Callable[..., int]] = {}
        self.policy: list[int] = []
        for name in dir(milter):
            if name.startswith("set_") and name.endswith("_callback"):
                monkeypatch.setattr(milter, name, self._keeper(name))
        monkeypatch.setattr(milter, "set_exception_policy", self.policy.append)
        monkeypatch.setattr(milter, "register", self._register)
        register(daemon)
        self.peer = peer
        self.offered = (actions, steps)
        self.open()

    def open(self) -> None:
        """Begin a connection, the first or another one."""
        actions, steps = self.offered
        peer: Any = self.peer
        self.context = Context()
        self.options = [actions, steps, 0, 0]
        assert self.callbacks["negotiate"](self.context, self.options) == milter.CONTINUE
        known = isinstance(peer, tuple) and len(peer) > 1
        self.context.macros["{client_addr}"] = str(peer[0]) if known else "unknown"
        self.context.macros["{client_port}"] = str(peer[1]) if known else "0"
        if not self.options[1] & milter.P_NOCONNECT:
            if not actions & milter.SETSYMLIST:
                del self.context.macros["{client_addr}"], self.context.macros["{client_port}"]
            assert self.call("connect", "client.test", 2, peer) == self.unanswered(milter.P_NR_CONN)

    def _keeper(self, name: str) -> Callable[[Callable[..., int]], None]:
        def keep(callback: Callable[..., int]) -> None:
            self.callbacks[name[len("set_") : -len("_callback")]] = callback

        return keep

    def _register(self, _name: str, **callbacks: Callable[..., int]) -> None:
        self.callbacks.update(callbacks)

    def call(self, name: str, *arguments: object) -> int:
        return self.callbacks[name](self.context, *arguments)

    def envelope(
        self, sender: bytes = b"<ann@example.test>", recipients: Iterable[bytes] = (b"<bob@example.test>",)
    ) -> None:
        """Send MAIL and RCPTs, whose answers nobody waits for."""
        assert self.call("envfrom", sender, b"SIZE=100") == self.unanswered(milter.P_NR_MAIL)
        for recipient in recipients:
            assert self.call("envrcpt", recipient) == self.unanswered(milter.P_NR_RCPT)

    def unanswered(self, step: int) -> int:
        """What libmilter wants from a callback: that there is no reply, where that was agreed."""
        return milter.NOREPLY if self.options[1] & step else milter.CONTINUE

    def headers(self, *fields: tuple[str, bytes]) -> list[int]:
        """Send header fields until the milter does not want any more."""
        answers: list[int] = []
        for name, value in fields:
            answers.append(self.call("header", name, value))
            if answers[-1] not in (milter.CONTINUE, milter.NOREPLY):
                break
        return answers

    def message(self, *fields: tuple[str, bytes], recipients: Iterable[bytes] = (b"<bob@example.test>",)) -> int:
        """Send a whole message; return the last answer."""
        self.envelope(recipients=recipients)
        answer = self.call("data")
        if answer != milter.CONTINUE:
            return answer
        answers = self.headers(*(fields or HEADER))
        if answers and answers[-1] not in (milter.CONTINUE, milter.NOREPLY, milter.SKIP):
            return answers[-1]
        return self.call("eom")


HEADER = (("Received", b"from a"), ("From", b"ann@example.test"), ("Subject", b"minutes"))


@pytest.fixture(autouse=True)
def balanced(monkeypatch: pytest.MonkeyPatch) -> Iterable[Callable[..., Connection]]:
    """Make connections; at the end of the test each is closed and counts as many ends as beginnings."""
    made: list[Connection] = []

    def connect(*decisions: Decision | BaseException | None, **more: Any) -> Connection:
        made.append(Connection(monkeypatch, Daemon(*decisions), **more))
        return made[-1]

    yield connect
    for connection in made:
        connection.call("close")
        assert connection.daemon.began == connection.daemon.ended
        assert connection.daemon.most_in_flight <= 1


Connect = Any  # the fixture above


def error_logs(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# -- negotiation ----------------------------------------------------------------------------


def test_what_is_asked_for(balanced: Connect) -> None:
    connection = balanced(NOTHING)
    actions, steps, *rest = connection.options
    assert actions == milter.ADDRCPT | milter.ADDRCPT_PAR | milter.DELRCPT | milter.CHGHDRS | milter.ADDHDRS
    wanted = milter.P_NR_MAIL | milter.P_NR_RCPT | milter.P_NR_EOH | milter.P_SKIP
    wanted |= milter.P_NOCONNECT | milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NOBODY
    assert steps == wanted
    assert rest == [0, 0]
    assert not {"helo", "body", "unknown"} & set(connection.callbacks)
    assert connection.policy == [milter.TEMPFAIL]


def test_only_what_is_offered_is_asked_for(balanced: Connect) -> None:
    connection = balanced(NOTHING, actions=milter.ADDHDRS, steps=milter.P_NOBODY)
    assert connection.options[:2] == [milter.ADDHDRS, milter.P_NOBODY]


# -- copies to recipients -------------------------------------------------------------------

HOLD = "hold@keep.test"


def copied_to_recipients(*already: str, mode: Mode = "apply", added: bool = True) -> Decision:
    copy = Copy(address=make_address("hold", "keep.test"), reasons=(), mode=mode, already=already, added=added)
    return Decision(identity=NOBODY, copies=(copy,))


def test_recipients_whose_place_a_copy_takes_are_deleted_as_the_client_wrote_them(balanced: Connect) -> None:
    connection = balanced(copied_to_recipients(HOLD, "HOLD@keep.test"))
    written = [
        b"<@relay.test,@b.test:hold@keep.test>",
        b"<hold@keep.test (the file)>",
        b"<HOLD@keep.test>",
        b"<bob@x.test>",
    ]
    assert connection.call("envfrom", b"<ann@example.test>") == milter.NOREPLY
    for recipient in [*written, written[1]]:
        comment = b"file" in recipient or b"relay" in recipient
        connection.context.macros["{rcpt_addr}"] = HOLD if comment else recipient.decode().strip("<>")
        assert connection.call("envrcpt", recipient) == milter.NOREPLY
    assert connection.call("data") == milter.CONTINUE
    assert connection.call("eom") == milter.CONTINUE
    assert connection.context.calls == [
        ("delrcpt", "<hold@keep.test>"),
        ("delrcpt", "<hold@keep.test (the file)>"),
        ("delrcpt", "<HOLD@keep.test>"),
        ("addrcpt", f"<{HOLD}>", "NOTIFY=NEVER"),
    ]


def test_nothing_is_deleted_where_the_mta_leaves_one_of_both(balanced: Connect) -> None:
    connection = balanced(copied_to_recipients(HOLD))
    connection.daemon.replaces = False
    assert connection.message(recipients=[HOLD.encode()]) == milter.CONTINUE
    assert connection.context.calls == [("addrcpt", f"<{HOLD}>", "NOTIFY=NEVER")]


@pytest.mark.parametrize(
    "decision",
    [
        copied_to_recipients(HOLD, mode="observe"),
        copied_to_recipients(HOLD, mode="pass"),
        copied_to_recipients(HOLD, added=False),
    ],
)
def test_nothing_is_deleted_for_a_copy_that_is_not_made(balanced: Connect, decision: Decision) -> None:
    connection = balanced(decision)
    assert connection.message(recipients=[HOLD.encode()]) == milter.ACCEPT
    assert connection.context.calls == []
    assert [noted for _, _, noted in connection.daemon.noted] == [decision]


# -- the decision at DATA -------------------------------------------------------------------


def test_nothing_to_do_is_accepted_at_data(balanced: Connect) -> None:
    connection = balanced(NOTHING)
    connection.envelope(recipients=[b"<bob@example.test>", b"<joe@specialcompany.com>"])
    assert connection.daemon.asked == []  # not before the envelope is complete
    assert connection.call("data") == milter.ACCEPT
    ((envelope, headers),) = connection.daemon.asked
    assert headers is None
    assert (envelope.sender, envelope.client, envelope.login) == ("ann@example.test", "192.0.2.7", None)
    assert envelope.recipients == ("bob@example.test", "joe@specialcompany.com")
    assert [(queue_id, decision) for queue_id, _, decision in connection.daemon.noted] == [("4QID", NOTHING)]
    assert connection.context.calls == connection.context.replies == []


def test_pass_is_accepted_at_data_without_a_word(balanced: Connect) -> None:
    connection = balanced(None)
    connection.envelope()
    assert connection.call("data") == milter.ACCEPT
    assert connection.daemon.noted == []


@pytest.mark.parametrize(
    ("decision", "verdict", "reply"),
    [
        (WAITS, milter.TEMPFAIL, (*TEMPFAIL, TEMPFAIL_REPLY[len("451 4.3.0 ") :])),
        (REFUSED, milter.REJECT, ("550", "5.7.1", "This From is not yours: 100% sure")),
    ],
)
def test_a_verdict_at_data(balanced: Connect, decision: Decision, verdict: int, reply: tuple[str, ...]) -> None:
    connection = balanced(decision)
    connection.envelope()
    assert connection.call("data") == verdict
    assert connection.context.replies == [reply]
    assert [noted for _, _, noted in connection.daemon.noted] == [decision]
    assert connection.context.calls == []
    assert connection.daemon.ended == 1


def test_a_verdict_that_is_only_observed_lets_the_message_pass(balanced: Connect) -> None:
    decision = Decision(
        identity=NOBODY, verdict="tempfail", smtp_reply=TEMPFAIL_REPLY, verdict_mode="observe", mode="observe"
    )
    connection = balanced(decision)
    connection.envelope()
    assert connection.call("data") == milter.ACCEPT
    assert connection.context.replies == []
    assert len(connection.daemon.noted) == 1


def test_the_wait_at_the_end_of_a_message_is_counted_from_before_its_look_up(
    balanced: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit gets what the look-up has left of the time that the MTA is promised."""
    connection = balanced(replace(BOTH, headers_needed=frozenset({"from"})), BOTH, NOTHING)
    decide: Callable[..., Decision | None] = connection.daemon.decide
    now = [1000.0]

    def slow(envelope: Envelope, headers: Headers | None, basis: Basis) -> Decision | None:
        now[0] += 7
        return decide(envelope, headers, basis)

    monkeypatch.setattr(connection.daemon, "decide", slow)
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now[0])
        assert connection.message() == milter.CONTINUE
        assert [message.ended_at for message in connection.daemon.handled] == [1007.0]
        assert connection.message() == milter.ACCEPT
    assert connection.daemon.handled[-1].ended_at is None


# -- headers --------------------------------------------------------------------------------


def test_copies_alone_need_no_header(balanced: Connect) -> None:
    connection = balanced(COPIES)
    connection.envelope()
    assert connection.call("data") == milter.CONTINUE
    assert connection.headers(*HEADER) == [milter.SKIP]
    assert connection.call("eom") in (milter.CONTINUE, milter.ACCEPT)
    assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]
    assert len(connection.daemon.asked) == len(connection.daemon.noted) == 1


def test_an_mta_without_skip_is_not_told_to(balanced: Connect) -> None:
    connection = balanced(COPIES, steps=ALL_STEPS & ~milter.P_SKIP)
    connection.envelope()
    connection.call("data")
    assert connection.headers(*HEADER) == [milter.CONTINUE] * 3
    connection.call("eom")
    assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]


def connected_again(connection: Connection) -> int:
    """Begin another connection; return whether header fields are answered in it (0) or not."""
    connection.call("close")
    connection.open()
    return connection.options[1] & milter.P_NR_HDR


@pytest.fixture
def unanswered(balanced: Connect) -> Connection:
    """A connection with a milter that has met nothing but messages whose header is read."""
    connection: Connection = balanced(REWRITE)
    for _ in range(100):
        if connected_again(connection):
            break
        connection.message()
    else:
        pytest.fail("every header field is still answered")
    connection.context.calls.clear()
    return connection


def test_where_headers_are_read_no_field_is_answered(unanswered: Connection) -> None:
    unanswered.envelope()
    assert unanswered.call("data") == milter.CONTINUE
    fields = [("From", b"a"), ("X", b"y"), ("FROM", b"b"), ("from ", b"c"), ("From-X", b"d")]
    assert unanswered.headers(*fields) == [milter.NOREPLY] * len(fields)
    assert unanswered.call("eom") == milter.CONTINUE
    assert [call[2:] for call in unanswered.context.calls] == [(3, None), (2, None), (1, CHANGE.value)]


def test_where_no_field_is_answered_a_copy_lets_them_pass(unanswered: Connection) -> None:
    unanswered.daemon.decisions = [COPIES]
    unanswered.envelope()
    unanswered.call("data")
    assert unanswered.headers(*HEADER) == [milter.NOREPLY] * 3
    unanswered.call("eom")
    assert unanswered.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]


def test_where_no_field_is_answered_all_are_counted(unanswered: Connection) -> None:
    unanswered.envelope()
    unanswered.call("data")
    assert set(unanswered.headers(*[("From", b"x")] * 1100)) == {milter.NOREPLY}
    assert unanswered.call("eom") == milter.CONTINUE
    assert len(unanswered.context.calls) == 1100
    assert unanswered.context.calls[-1] == ("chgheader", "From", 1, CHANGE.value)


def test_headers_are_answered_again_once_they_are_not_read_any_more(unanswered: Connection) -> None:
    unanswered.daemon.decisions = [NOTHING]
    for _ in range(100):
        unanswered.message()
    assert connected_again(unanswered)  # mail with nothing to do tells nothing
    unanswered.daemon.decisions = [COPIES]
    for _ in range(100):
        unanswered.message()
    assert not connected_again(unanswered)
    unanswered.envelope()
    unanswered.call("data")
    assert unanswered.headers(*HEADER) == [milter.SKIP]


def test_an_mta_that_wants_every_field_answered_gets_its_answers(balanced: Connect) -> None:
    connection = balanced(REWRITE, steps=ALL_STEPS & ~milter.P_NR_HDR)
    for _ in range(20):
        connection.message()
    assert not connected_again(connection)
    connection.envelope()
    connection.call("data")
    assert connection.headers(*HEADER) == [milter.CONTINUE] * 3


def test_a_from_that_changes_is_counted_to_the_end(balanced: Connect) -> None:
    connection = balanced(REWRITE)
    connection.envelope()
    assert connection.call("data") == milter.CONTINUE
    fields = [("From", b"a"), ("X", b"y"), ("FROM", b"b"), ("from ", b"c"), ("fRoM", b"\xff\x00"), ("From-X", b"d")]
    assert connection.headers(*fields) == [milter.CONTINUE] * len(fields)
    connection.call("eom")
    assert connection.context.calls == [
        ("chgheader", "From", 4, None),
        ("chgheader", "From", 3, None),
        ("chgheader", "From", 2, None),
        ("chgheader", "From", 1, CHANGE.value),
    ]


def test_modifications_go_out_in_one_order(balanced: Connect) -> None:
    connection = balanced(BOTH)
    connection.message(*HEADER, ("From", b"second"))
    assert connection.context.calls == [
        ("chgheader", "From", 2, None),
        ("chgheader", "From", 1, CHANGE.value),
        ("addrcpt", "<v@keep.test>", "NOTIFY=NEVER"),
    ]


def test_nothing_is_modified_before_the_end(balanced: Connect) -> None:
    connection = balanced(BOTH)
    connection.envelope()
    connection.call("data")
    connection.headers(*HEADER)
    assert connection.context.calls == []
    connection.call("eom")
    assert len(connection.context.calls) == 2


def needing(decision: Decision, *names: str) -> Decision:
    return Decision(
        identity=decision.identity,
        from_change=decision.from_change,
        copies=decision.copies,
        headers_needed=frozenset(names),
    )


def test_a_second_decision_sees_the_headers_that_were_asked_for(balanced: Connect) -> None:
    connection = balanced(needing(BOTH, "auto-submitted", "from"), BOTH)
    fields = [
        ("Received", b"x"),
        ("Auto-Submitted", b"auto-replied"),
        ("From", b"caf\xe9 <ann@example.test>"),
        ("FROM", b"=?utf-8?q?two?=\r\n\tfolded"),
        ("Subject", b"s"),
    ]
    connection.message(*fields)
    first, second = connection.daemon.asked
    assert first[1] is None
    assert first[0] == second[0]
    headers = second[1]
    assert headers is not None
    assert [name for name, _ in headers.fields] == ["auto-submitted", "from", "from"]
    assert headers.values("auto-submitted") == ("auto-replied",)
    assert headers.values("from")[0] == "caf\udce9 <ann@example.test>"
    # One line in the log: that of the decision that counts.
    assert [decision for _, _, decision in connection.daemon.noted] == [BOTH]
    assert [call[:3] for call in connection.context.calls] == [
        ("chgheader", "From", 2),
        ("chgheader", "From", 1),
        ("addrcpt", "<v@keep.test>", "NOTIFY=NEVER"),
    ]


@pytest.mark.parametrize(
    ("second", "answer"), [(NOTHING, None), (None, None), (WAITS, milter.TEMPFAIL), (REFUSED, milter.REJECT)]
)
def test_the_second_decision_may_be_any(balanced: Connect, second: Decision | None, answer: int | None) -> None:
    connection = balanced(needing(BOTH, "from"), second)
    told = connection.message()
    assert told == answer if answer is not None else told in (milter.CONTINUE, milter.ACCEPT)
    assert connection.context.calls == []
    assert [code for code, *_ in connection.context.replies] == ([] if answer is None else [second.smtp_reply[:3]])  # type: ignore[union-attr, index]


def test_a_rule_replaces_any_number_of_froms_that_the_mta_can_delete(balanced: Connect) -> None:
    connection = balanced(REWRITE)
    assert connection.message(*[("From", b"x")] * 5000) == milter.CONTINUE
    assert [call[2] for call in connection.context.calls] == list(range(5000, 0, -1))
    assert connection.context.calls[-1] == ("chgheader", "From", 1, CHANGE.value)


def test_more_froms_than_the_mta_can_delete_are_refused_for_good(
    balanced: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = balanced(REWRITE, REWRITE)
    assert connection.message(*[("From", b"x")] * 10_001) == milter.REJECT
    assert connection.context.calls == []
    assert connection.context.replies == [("550", "5.6.0", "The message has more than 10000 From fields")]
    ((_, _, noted),) = connection.daemon.noted
    assert (noted.verdict, noted.smtp_reply) == ("reject", "550 5.6.0 The message has more than 10000 From fields")
    assert error_logs(caplog) == []
    assert connection.message(*HEADER) == milter.CONTINUE  # the next one is not held responsible


def test_what_is_settled_at_the_end_is_carried_out(balanced: Connect) -> None:
    connection = balanced(COPIES)
    connection.daemon.keeps_message_ids = True
    relayed = replace(COPIES.copies[0], delivery="tracked", relayed_as="0ab@copies.invalid")
    connection.daemon.settles = replace(COPIES, copies=(relayed,))
    assert connection.message(("Message-ID", b"<one@x.test>")) == milter.CONTINUE
    ((message, decision),) = connection.daemon.settled
    assert (message.queue_id, message.message_ids, decision) == ("4QID", ("<one@x.test>",), COPIES)
    assert connection.context.calls == [("addrcpt", "<0ab@copies.invalid>", "NOTIFY=NEVER")]
    assert connection.daemon.noted[0][2] == connection.daemon.settles


def test_a_message_that_is_settled_to_wait_waits(balanced: Connect) -> None:
    connection = balanced(COPIES)
    connection.daemon.settles = WAITS
    assert connection.message() == milter.TEMPFAIL
    assert connection.context.calls == []
    assert connection.daemon.noted[0][2] == WAITS


def test_a_header_that_cannot_be_changed_is_refused_before_anything_is_settled(balanced: Connect) -> None:
    connection = balanced(REWRITE)
    headers = [("From", b"x")] * 10_001
    assert connection.message(*headers) == milter.REJECT
    assert connection.daemon.settled[0][1].verdict == "reject"


def test_froms_that_nobody_changes_are_as_many_as_they_like(balanced: Connect) -> None:
    for decision in (needing(COPIES, "from"), replace(COPIES, from_change=replace(CHANGE, mode="observe"))):
        connection = balanced(decision, COPIES)
        assert connection.message(*[("From", b"x")] * 10_001) == milter.CONTINUE
        assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]


LIST_ID = HeaderChange(name="List-Id", value="Staff <staff.example.test>", reasons=(REASON,))
TWO_LISTS = (("List-Id", b"<a>"), ("From", b"ann@example.test"), ("list-id ", b"<b>"))


def test_a_header_change_leaves_one_field_where_no_header_was_needed_to_decide(balanced: Connect) -> None:
    connection = balanced(Decision(identity=NOBODY, header_changes=(LIST_ID,)))
    assert connection.message(*TWO_LISTS) == milter.CONTINUE
    assert connection.context.calls == [
        ("chgheader", "List-Id", 2, None),
        ("chgheader", "List-Id", 1, LIST_ID.value),
    ]


def test_a_header_change_leaves_one_field_beside_those_that_were_needed(balanced: Connect) -> None:
    """A field that the first decision changes is counted, although only the second one carries it out."""
    changed = Decision(identity=NOBODY, header_changes=(LIST_ID,))
    connection = balanced(replace(changed, headers_needed=frozenset({"sender"})), changed)
    assert connection.message(*TWO_LISTS) == milter.CONTINUE
    assert [call[2:] for call in connection.context.calls] == [(2, None), (1, LIST_ID.value)]


def test_a_header_change_removes_every_field_of_its_name(balanced: Connect) -> None:
    gone = replace(LIST_ID, value=None)
    connection = balanced(Decision(identity=NOBODY, header_changes=(gone,)))
    connection.message(*TWO_LISTS)
    assert [call[2:] for call in connection.context.calls] == [(2, None), (1, None)]


def test_a_header_change_that_is_only_observed_reads_nothing(balanced: Connect) -> None:
    observed = replace(LIST_ID, mode="observe")
    connection = balanced(Decision(identity=NOBODY, header_changes=(observed,)))
    connection.envelope()
    assert connection.call("data") == milter.ACCEPT
    assert connection.context.calls == []


def test_an_effect_that_is_neither_field_nor_copy_is_waited_for_to_the_end(balanced: Connect) -> None:
    for decision, answer in ((tagged("apply"), milter.CONTINUE), (tagged("observe"), milter.ACCEPT)):
        connection = balanced(decision)
        connection.envelope()
        assert connection.call("data") == answer


def test_a_message_waits_when_a_field_changes_that_was_not_counted(balanced: Connect) -> None:
    """The policy changed between DATA and the end of the message: the next try counts the field."""
    connection = balanced(needing(NOTHING, "from"), Decision(identity=NOBODY, header_changes=(LIST_ID,)))
    assert connection.message(*TWO_LISTS) == milter.TEMPFAIL
    assert connection.context.calls == []
    assert connection.context.replies == [(*TEMPFAIL, TEMPFAIL_REPLY.split(" ", 2)[2])]
    ((_, _, noted),) = connection.daemon.noted
    assert noted.applied_verdict == "tempfail"
    assert [notice.text for notice in noted.warnings] == [
        "the policy changed while the message came in: list-id is to change, and its fields were not counted"
    ]


def test_more_fields_of_any_name_than_the_mta_can_delete_are_refused_for_good(balanced: Connect) -> None:
    connection = balanced(Decision(identity=NOBODY, header_changes=(LIST_ID,)))
    assert connection.message(*[("List-Id", b"x")] * 10_001) == milter.REJECT
    assert connection.context.calls == []
    assert connection.context.replies == [("550", "5.6.0", "The message has more than 10000 List-Id fields")]


# -- the Message-ID -------------------------------------------------------------------------

IDS = (("Message-ID", b" <one@x.test>"), ("From", b"a@x.test"), ("MESSAGE-id", b"<two@x.test>"))
OBSERVED = Decision(identity=NOBODY, copies=tuple(replace(copy, mode="observe") for copy in COPIES.copies))


@pytest.mark.parametrize("decision", [COPIES, OBSERVED, BOTH, needing(COPIES, "sender")])
def test_with_a_copy_every_message_id_is_noted(balanced: Connect, decision: Decision) -> None:
    connection = balanced(decision)
    connection.daemon.keeps_message_ids = True
    connection.message(*IDS)
    (handled,) = connection.daemon.handled
    assert handled.message_ids == ("<one@x.test>", "<two@x.test>")


def test_a_message_id_that_was_looked_for_in_vain_is_not_one_that_was_not_looked_for(balanced: Connect) -> None:
    connection = balanced(COPIES)
    connection.message(*HEADER)
    connection.daemon.keeps_message_ids = True
    connection.message(*HEADER)
    assert [handled.message_ids for handled in connection.daemon.handled] == [None, ()]


def test_a_message_that_is_told_to_wait_at_its_end_keeps_the_message_id(balanced: Connect) -> None:
    connection = balanced(needing(COPIES, "from"), WAITS)
    connection.message(*IDS)
    assert connection.daemon.handled[0].message_ids == ("<one@x.test>", "<two@x.test>")


def test_without_a_copy_no_header_is_read_for_the_message_id(balanced: Connect) -> None:
    connection = balanced(Decision(identity=NOBODY, stale=True))
    connection.daemon.keeps_message_ids = True
    assert connection.message(*IDS) == milter.ACCEPT
    assert connection.daemon.handled[0].message_ids is None


def test_an_mta_that_cannot_add_recipients_does_not_hold_up_copies_that_are_only_observed(balanced: Connect) -> None:
    connection = balanced(OBSERVED, actions=milter.ADDHDRS)
    connection.daemon.keeps_message_ids = True
    assert connection.message(*IDS) == milter.CONTINUE
    assert connection.context.calls == []


# -- messages on one connection -------------------------------------------------------------


def test_every_message_has_a_state_of_its_own(balanced: Connect) -> None:
    connection = balanced(BOTH, NOTHING, COPIES)
    connection.context.macros["{auth_authen}"] = "ann"
    connection.message(*HEADER, ("From", b"2"), ("From", b"3"), recipients=[b"<a@x.test>", b"<b@x.test>"])
    del connection.context.macros["{auth_authen}"]
    connection.context.calls.clear()

    connection.envelope(b"<>", [b"<c@x.test>"])
    assert connection.call("data") == milter.ACCEPT
    connection.envelope(b"<kim@example.test>", [b"<d@x.test>"])
    assert connection.call("data") == milter.CONTINUE
    assert connection.headers(*HEADER) == [milter.SKIP]
    connection.call("eom")
    assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]
    assert [(envelope.sender, envelope.login, envelope.recipients) for envelope, _ in connection.daemon.asked] == [
        ("ann@example.test", "ann", ("a@x.test", "b@x.test")),
        ("", None, ("c@x.test",)),
        ("kim@example.test", None, ("d@x.test",)),
    ]
    assert {envelope.client for envelope, _ in connection.daemon.asked} == {"192.0.2.7"}
    assert (connection.daemon.began, connection.daemon.ended) == (3, 3)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_abort_forgets_the_message_wherever_it_comes(balanced: Connect, steps: int) -> None:
    connection = balanced(BOTH)
    connection.call("envfrom", b"<ann@example.test>")
    if steps > 0:
        connection.call("envrcpt", b"<a@x.test>")
    if steps > 1:
        connection.call("data")
    if steps > 2:
        connection.headers(*HEADER)
    assert connection.call("abort") == milter.CONTINUE
    assert (connection.daemon.began, connection.daemon.ended) == (1, 1)
    assert connection.call("abort") == milter.CONTINUE  # and again: nothing is counted twice
    connection.message(recipients=[b"<b@x.test>"])
    assert connection.daemon.asked[-1][0].recipients == ("b@x.test",)
    assert [call[0] for call in connection.context.calls] == ["chgheader", "addrcpt"]


def test_mail_after_mail_begins_anew(balanced: Connect) -> None:
    connection = balanced(NOTHING)
    connection.envelope(b"<one@example.test>", [b"<a@x.test>"])
    connection.envelope(b"<two@example.test>", [b"<b@x.test>"])
    connection.call("data")
    assert connection.daemon.asked[0][0].sender == "two@example.test"
    assert connection.daemon.asked[0][0].recipients == ("b@x.test",)


# -- what the MTA says ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data", "header", "eom"])
def test_a_stage_before_mail_waits(balanced: Connect, name: str, caplog: pytest.LogCaptureFixture) -> None:
    connection = balanced(BOTH)
    assert connection.call(name, *(("From", b"x") if name == "header" else ())) == milter.TEMPFAIL
    assert connection.context.calls == []
    assert connection.daemon.asked == []
    assert error_logs(caplog)


def test_the_end_without_data_waits(balanced: Connect) -> None:
    """An MTA that speaks an old protocol (milter_protocol = 3) sends no DATA."""
    connection = balanced(BOTH)
    connection.envelope()
    assert connection.call("eom") == milter.TEMPFAIL


@pytest.mark.parametrize("name", ["mail", "rcpt", "connect"])
def test_callbacks_without_a_session_never_raise(balanced: Connect, name: str) -> None:
    connection = balanced(BOTH)
    connection.context.setpriv(None)
    calls = {
        "connect": ("connect", "h", 2, None),
        "mail": ("envfrom", b"<a@x.test>"),
        "rcpt": ("envrcpt", b"<a@x.test>"),
    }
    connection.call(*calls[name])
    assert connection.call("data") == milter.TEMPFAIL
    connection.call("close")


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("192.0.2.7", 25), "192.0.2.7"),
        (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
        (None, None),
        ("/run/socket", None),
        ((), None),
    ],
)
def test_the_clients_address(balanced: Connect, peer: object, client: str | None) -> None:
    connection = balanced(NOTHING, peer=peer)
    connection.envelope()
    connection.call("data")
    assert connection.daemon.asked[0][0].client == client


@pytest.mark.parametrize(
    ("port", "sender", "local"),
    [
        (0, b"ann@example.test", True),
        (0, b"", True),
        (0, b"<ann@example.test>", False),
        (4321, b"ann@example.test", False),
    ],
)
def test_mail_of_sendmail_is_known_by_port_and_brackets(
    balanced: Connect,
    port: int,
    sender: bytes,
    local: bool,  # noqa: FBT001 - a table
) -> None:
    connection = balanced(NOTHING, peer=("127.0.0.1", port))
    connection.envelope(sender)
    connection.call("data")
    assert connection.daemon.asked[0][0].submitted_locally is local


@pytest.mark.parametrize("macro", ["{auth_authen}", "i", "{rcpt_addr}", "{daemon_port}"])
def test_a_macro_that_is_not_utf8_breaks_nothing(balanced: Connect, macro: str) -> None:
    connection = balanced(COPIES)
    connection.context.macros[macro] = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    connection.message(recipients=[b"<bare>", b"<bob@example.test>"])
    envelope, _ = connection.daemon.asked[0]
    if macro == "{auth_authen}":
        assert envelope.login  # still a login, and nobody's
        assert "@" not in envelope.login
    else:
        assert envelope.login is None
    assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]


def test_envelope_bytes_that_are_not_utf8_are_kept_apart(balanced: Connect) -> None:
    connection = balanced(NOTHING)
    connection.envelope(b"<caf\xe9@x.test>", [b"<\xff@x.test>", "<é@x.test>".encode()])
    connection.call("data")
    envelope, _ = connection.daemon.asked[0]
    assert envelope.sender == "caf\udce9@x.test"
    assert envelope.recipients == ("\udcff@x.test", "é@x.test")


def test_octets_that_are_not_utf8_are_taken_as_the_mta_delivers_them(balanced: Connect) -> None:
    """What the client wrote may hide the domain from all but the MTA."""
    connection = balanced(NOTHING)
    octets = b"olga+\xff@example.test"
    for macro in ("{mail_addr}", "{rcpt_addr}"):
        connection.context.macros[macro] = UnicodeDecodeError("utf-8", octets, 5, 6, "invalid start byte")
    connection.envelope(b"<olga+\xff%example.test>", [b"<example.test!olga+\xff>", b"<olga+\xff@example.test (who)>"])
    connection.call("data")
    envelope, _ = connection.daemon.asked[0]
    assert (envelope.sender, *envelope.recipients) == ("olga+\udcff@example.test",) * 3


def test_a_recipient_without_domain_is_taken_as_the_mta_completes_it(balanced: Connect) -> None:
    connection = balanced(NOTHING)
    connection.call("envfrom", b"<ann@example.test>")
    for recipient, completed in ((b"<bob>", "bob@mx1.example.test"), (b"<postmaster>", None)):
        connection.context.macros.pop("{rcpt_addr}", None)
        if completed:
            connection.context.macros["{rcpt_addr}"] = completed
        connection.call("envrcpt", recipient)
    connection.call("data")
    assert connection.daemon.asked[0][0].recipients == ("bob@mx1.example.test", "postmaster")


def test_the_port_of_the_daemon_is_asked_for_and_passed_on(balanced: Connect) -> None:
    connection = balanced(NOTHING)
    assert "{daemon_port}" in connection.context.symbols[milter.M_CONNECT].split()
    connection.context.macros["{daemon_port}"] = "10025"
    connection.message()
    assert connection.daemon.asked[0][0].daemon_port == 10025


@pytest.mark.parametrize("port", ["", "smtp", "-1", "١٢", "25 ", "9" * 5000])
def test_a_port_that_is_none_breaks_nothing(balanced: Connect, port: str) -> None:
    connection = balanced(NOTHING)
    connection.context.macros["{daemon_port}"] = port
    connection.envelope()
    assert connection.call("data") in (milter.ACCEPT, milter.TEMPFAIL)


@pytest.mark.parametrize(
    "missing", [{"actions": ALL_ACTIONS & ~milter.SETSYMLIST}, {"steps": ALL_STEPS & ~milter.P_NOCONNECT}]
)
def test_an_mta_that_cannot_be_asked_for_macros_says_who_connects(balanced: Connect, missing: dict[str, int]) -> None:
    """Not by a macro: it is the MTA's configuration then which of them it sends."""
    connection = balanced(NOTHING, **missing)
    assert not connection.options[1] & milter.P_NOCONNECT
    assert bool(connection.context.symbols) is ("steps" in missing)
    connection.context.macros["{client_addr}"] = "198.51.100.1"
    connection.message()
    assert connection.daemon.asked[0][0].client == "192.0.2.7"


def test_a_client_that_the_mta_keeps_to_itself_is_not_taken_for_nobody(
    balanced: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = balanced(NOTHING)
    assert {"{client_addr}", "{client_port}"} < set(connection.context.symbols[milter.M_CONNECT].split())
    del connection.context.macros["{client_addr}"]
    for _ in range(2):
        connection.envelope()
        assert connection.call("data") == milter.TEMPFAIL
    assert connection.daemon.asked == []
    assert all("{client_addr}" in text for text in error_logs(caplog))
    assert len(caplog.records) == 2
    assert not any(record.exc_info for record in caplog.records)  # no bug of ours
    assert connection.daemon.failures == 0
    connection.context.macros["{client_addr}"] = "192.0.2.7"
    connection.envelope()
    assert connection.call("data") == milter.ACCEPT


# -- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [milter.ADDRCPT, milter.ADDRCPT_PAR, milter.CHGHDRS])
def test_a_peer_that_lacks_an_action_holds_up_the_mail_that_needs_it(
    balanced: Connect, missing: int, caplog: pytest.LogCaptureFixture
) -> None:
    decisions = {milter.CHGHDRS: REWRITE}.get(missing, COPIES)
    connection = balanced(decisions, NOTHING, actions=ALL_ACTIONS & ~missing)
    assert any("actions" in text for text in error_logs(caplog))
    assert connection.message() == milter.TEMPFAIL
    assert [reply[:2] for reply in connection.context.replies] == [TEMPFAIL]
    assert connection.context.calls == []
    connection.envelope()
    assert connection.call("data") == milter.ACCEPT  # mail with nothing to do goes on


NEW_SENDER = Decision(
    identity=Identity(source="none"),
    sender_change=SenderChange(address=make_address("bounces", "example.test"), reasons=()),
    headers_needed=frozenset({"from"}),
)


def test_the_change_of_the_envelope_sender_is_asked_for_where_it_may_be_needed(balanced: Connect) -> None:
    connection = balanced(NEW_SENDER, NEW_SENDER)
    connection.daemon.changes_sender = True
    connection.open()
    assert connection.options[0] & milter.CHGFROM
    assert connection.message() == milter.CONTINUE
    assert connection.context.calls == [("chgfrom", "<bounces@example.test>")]


@pytest.mark.parametrize(("asked", "offered"), [(True, ALL_ACTIONS & ~milter.CHGFROM), (False, ALL_ACTIONS)])
def test_a_sender_that_cannot_be_changed_holds_up_the_posts_that_need_it_alone(
    balanced: Connect, *, asked: bool, offered: int
) -> None:
    connection = balanced(NEW_SENDER, NEW_SENDER, COPIES, actions=offered)
    connection.daemon.changes_sender = asked
    connection.open()
    assert connection.message() == milter.TEMPFAIL
    assert connection.context.calls == []
    assert connection.message() == milter.CONTINUE


BUG = RuntimeError("a bug")


def test_a_decision_that_fails_at_data_is_451(balanced: Connect, caplog: pytest.LogCaptureFixture) -> None:
    connection = balanced(BUG, COPIES)
    connection.envelope()
    assert connection.call("data") == milter.TEMPFAIL
    assert [reply[:2] for reply in connection.context.replies] == [TEMPFAIL]
    assert "a bug" not in connection.context.replies[0][2]
    assert any(record.exc_info for record in caplog.records)
    assert any("4QID" in text for text in error_logs(caplog))
    assert [queue_id for queue_id, _ in connection.daemon.given_up] == ["4QID"]
    connection.message()  # the next one is not held responsible
    assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]


def test_a_decision_that_fails_at_the_end_is_451(balanced: Connect) -> None:
    connection = balanced(needing(BOTH, "from"), BUG)
    assert connection.message() == milter.TEMPFAIL
    assert [reply[:2] for reply in connection.context.replies] == [TEMPFAIL]
    assert connection.context.calls == []


@pytest.mark.parametrize("broken", ["chgheader", "addrcpt"])
def test_a_modification_that_fails_is_451(balanced: Connect, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    connection = balanced(BOTH)

    def fail(*_arguments: object) -> None:
        raise milter.error("cannot")

    monkeypatch.setattr(connection.context, broken, fail)
    assert connection.message() == milter.TEMPFAIL
    assert [reply[:2] for reply in connection.context.replies] == [TEMPFAIL]


@pytest.mark.parametrize(
    ("callback", "arguments"),
    [("envfrom", (object(),)), ("envrcpt", (object(),))],
)
def test_a_callback_without_an_answer_never_raises_and_the_next_answer_is_451(
    balanced: Connect, callback: str, arguments: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    connection = balanced(COPIES)
    if callback == "envrcpt":
        connection.call("envfrom", b"<ann@example.test>")
    assert connection.call(callback, *arguments) == milter.NOREPLY
    assert error_logs(caplog)
    assert connection.call("envrcpt", b"<bob@example.test>") == milter.NOREPLY
    assert connection.call("data") == milter.TEMPFAIL
    assert connection.context.calls == []
    assert connection.daemon.asked == []
    connection.message()
    assert connection.context.calls == [("addrcpt", "<v@keep.test>", "NOTIFY=NEVER")]


@pytest.mark.parametrize("agreed", [ALL_STEPS, 0])
def test_no_reply_is_given_where_none_was_agreed_on(balanced: Connect, agreed: int) -> None:
    """libmilter complains to syslog of any other answer: one line at error level for every recipient."""
    connection = balanced(COPIES, steps=agreed)
    expected = milter.NOREPLY if agreed else milter.CONTINUE
    assert connection.call("envfrom", b"<ann@example.test>") == expected
    assert connection.call("envrcpt", b"<bob@example.test>") == expected
    assert connection.call("data") == milter.CONTINUE
    assert connection.call("eoh") == expected
    assert connection.call("abort") == milter.CONTINUE


def test_a_daemon_that_fails_to_take_note_holds_the_message(balanced: Connect) -> None:
    connection = balanced(COPIES)

    def fail(*_arguments: object) -> None:
        raise OSError("the disk is full")

    connection.daemon.done = fail
    assert connection.message() == milter.TEMPFAIL
    assert connection.context.calls == []


def test_no_queue_id_is_no_reason_to_fail(balanced: Connect) -> None:
    connection = balanced(COPIES)
    del connection.context.macros["i"]
    connection.message()
    assert [queue_id for queue_id, _, _ in connection.daemon.noted] == [""]


def test_close_in_mid_message(balanced: Connect) -> None:
    connection = balanced(BOTH)
    connection.envelope()
    connection.call("data")
    assert connection.call("close") == milter.CONTINUE
    assert (connection.daemon.began, connection.daemon.ended) == (1, 1)


# -- the reply ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["451 4.3.0 plain", "550 5.7.1 100% of %s and %%d", "451 4.3.0 a b  c"])
def test_a_reply_is_text_not_a_format(text: str) -> None:
    context = Context()
    reply(context, text)
    ((code, extended, message),) = context.replies
    assert f"{code} {extended} {message}" == text


def test_both_decisions_for_a_message_share_a_basis_that_the_next_message_does_not_have(balanced: Connect) -> None:
    connection = balanced(replace(REWRITE, headers_needed=frozenset({"from"})), REWRITE, NOTHING)
    connection.message()
    connection.message()
    first, last, next_message = connection.daemon.bases
    assert first is last
    assert next_message is not first
