"""A decision with everything in it, and records made of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Final

from ldapmilter.address import make_address
from ldapmilter.audit.record import record
from ldapmilter.message import Envelope, HandledMessage, Identity
from ldapmilter.policy.effect import Copy, CopyReason, FromChange, HeaderChange, Reason
from ldapmilter.policy.model import Decision, Notice, Refusal

ANN_DN: Final = "uid=ann,ou=people,dc=example,dc=test"
SALES_DN: Final = "cn=sales,cn=cos,cn=zimbra"
NOON: Final = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=timezone.utc)
ANN: Final = Identity(source="sasl", address=make_address("ann", "example.test"), dn=ANN_DN)
ENVELOPE: Final = Envelope(
    login="Ann", client="192.0.2.1", sender="ann@example.test", recipients=("joe@x.test", "team@example.test")
)


def reason(**more: Any) -> Reason:
    values: dict[str, Any] = {
        "level": "cos",
        "dn": SALES_DN,
        "attribute": "ldapMilterSenderFromRewrite",
        "value": "x.test => Legal <legal@example.test>",
        "recipient": "bob@example.test",
        "group_path": ("team@example.test", "sub@example.test"),
    }
    return Reason(**{**values, **more})


def copy_reason(copy_class: str) -> CopyReason:
    return CopyReason(
        level="cos",
        dn=SALES_DN,
        attribute="ldapMilterLegalBcc",
        value="hold@counsel.test ref=case-7",
        recipient="bob@example.test",
        group_path=("team@example.test", "sub@example.test"),
        copy_class=copy_class,
        direction="received",
        ref="case-7",
    )


def copy(address: str, *classes: str, mode: Any = "apply") -> Copy:
    local, _, domain = address.partition("@")
    return Copy(address=make_address(local, domain), reasons=tuple(copy_reason(name) for name in classes), mode=mode)


FULL: Final = Decision(
    identity=ANN,
    verdict="reject",
    smtp_reply="550 5.7.1 not yours",
    from_change=FromChange(value="Legal <legal@example.test>", cause="rewrite", reasons=(reason(),)),
    header_changes=(
        HeaderChange(name="Reply-To", value="ann@example.test", reasons=(reason(),)),
        HeaderChange(name="X-Old", value=None, reasons=()),
    ),
    refusal=Refusal(reply="550 5.7.1 not yours", address="boss@example.test", reasons=(reason(),)),
    copies=(copy("hold@counsel.test", "legal"),),
    warnings=(Notice(text="a broken value", confidential=True, invalid_value_of="legal", error=True),),
    incomplete=("no answer from ldap://a",),
    stale=True,
    searches=4,
)


def recorded(
    decision: Decision = FULL, *, after: timedelta = timedelta(0), envelope: Envelope = ENVELOPE, **more: Any
) -> Any:
    values: dict[str, Any] = {
        "queue_id": "4XyZ",
        "message_ids": ("<one@example.test>",),
        "old_from": ("Ann <ann@example.test>",),
    }
    message = HandledMessage(envelope=envelope, **{**values, **more})
    return record(time=NOON + after, host="mta1.example.test", worker=4711, message=message, decision=decision)
