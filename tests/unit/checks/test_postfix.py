"""Every finding about Postfix, from configurations that postconf(1) itself reads."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import postfix
from ldapmilter.checks.finding import Report
from ldapmilter.checks.postfix_config import (
    is_ours,
    macro_names,
    parse_milters,
    read_postfix,
    seconds,
)
from ldapmilter.postfix.postconf import find_postconf
from ldapmilter.socket_address import parse_socket
from tests.unit.checks.scene import codes, config_of, texts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OURS = "inet:127.0.0.1:8800"
MAIN = {
    "compatibility_level": "3.6",
    "queue_directory": "/var/spool/postfix",
    "smtpd_milters": f"{OURS}, inet:127.0.0.1:7026",
    "non_smtpd_milters": OURS,
    "smtpd_sasl_auth_enable": "yes",
    "milter_default_action": "tempfail",
    "authorized_submit_users": "root, zimbra",
}
MASTER = ("smtp inet n - n - - smtpd", "submission inet n - n - - smtpd")
REST = ("pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup")


def report_on(
    directory: Path,
    main: Mapping[str, str] | None = None,
    services: tuple[str, ...] = MASTER,
    options: Mapping[str, Mapping[str, str]] | None = None,
    rest: tuple[str, ...] = REST,
) -> Report:
    place = directory / "postfix"
    place.mkdir()
    parameters = {**MAIN, **(main or {})}
    (place / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in parameters.items()))
    (place / "master.cf").write_text("".join(f"{line}\n" for line in (*services, *rest)))
    # Postfix waits two seconds before it trusts a fresh file.
    for file in place.iterdir():
        os.utime(file, (time.time() - 60,) * 2)
    report = Report()
    config = config_of(directory, {"milter": {"socket": OURS}, **(options or {})})
    postfix.check(config, report, directory=place)
    return report


def test_a_postfix_that_is_in_order(tmp_path: Path) -> None:
    report = report_on(tmp_path)
    assert report.findings == ()
    assert [text for _, text in report.looked_at] == [
        "smtpd_milters: ldapmilter then inet:127.0.0.1:7026",
        "non_smtpd_milters: ldapmilter is listed",
        "logins: offered on smtp/inet, submission/inet, never without a password",
    ]


CASES: dict[str, tuple[dict[str, str], tuple[str, ...], dict[str, dict[str, str]]]] = {
    "postfix-unlisted": ({"smtpd_milters": "inet:127.0.0.1:7026"}, MASTER, {}),
    "postfix-unlisted: empty": ({"smtpd_milters": ""}, MASTER, {}),
    "postfix-unlisted: another port": ({"smtpd_milters": "inet:127.0.0.1:8801"}, MASTER, {}),
    "postfix-service-unlisted": (
        {},
        ("smtp inet n - n - - smtpd", "submission inet n - n - - smtpd -o smtpd_milters="),
        {},
    ),
    "postfix-service-unlisted: behind postscreen": (
        {},
        ("smtp inet n - n - 1 postscreen", "smtpd pass - - n - - smtpd -o smtpd_milters=inet:127.0.0.1:7026"),
        {},
    ),
    "postfix-nonsmtpd-unlisted": ({"non_smtpd_milters": ""}, MASTER, {}),
    "postfix-listed-twice": ({"smtpd_milters": f"{OURS} inet:localhost:8800"}, MASTER, {}),
    "postfix-milters-off": ({"receive_override_options": "no_milters"}, MASTER[:1], {}),
    "postfix-milters-off: for some clients": ({"smtpd_milter_maps": "cidr:/etc/postfix/milters"}, MASTER, {}),
    "postfix-proxy-filter": ({}, ("smtp inet n - n - - smtpd -o smtpd_proxy_filter=127.0.0.1:10027",), {}),
    "postfix-signed-before": ({"smtpd_milters": f"inet:localhost:8465 {OURS}"}, MASTER, {}),
    "postfix-default-action": ({"milter_default_action": "accept"}, MASTER, {}),
    "postfix-default-action: in braces": (
        {"smtpd_milters": f"{{ {OURS}, default_action = accept }}, inet:127.0.0.1:7026"},
        MASTER,
        {},
    ),
    "postfix-timeout": ({"milter_command_timeout": "10s"}, MASTER, {}),
    "postfix-timeout: of the content": ({"milter_content_timeout": "10"}, MASTER, {}),
    "postfix-timeout: in braces": ({"smtpd_milters": f"{{ {OURS}, command_timeout=5s }}"}, MASTER, {}),
    "postfix-timeout: of one service": ({}, ("smtp inet n - n - - smtpd -o milter_command_timeout=5s",), {}),
    "postfix-protocol": ({"milter_protocol": "2"}, MASTER, {}),
    "postfix-login-macro": ({"milter_mail_macros": "i {mail_addr}"}, MASTER, {}),
    "postfix-login-macro: of one service": (
        {},
        ("smtp inet n - n - - smtpd", "submission inet n - n - - smtpd -o { milter_mail_macros = i {mail_addr} }"),
        {},
    ),
    "postfix-macros": ({"milter_mail_macros": "i {auth_authen}"}, MASTER, {}),
    "postfix-macros: of recipients": ({"milter_rcpt_macros": "i"}, MASTER, {}),
    "postfix-macros: the queue id": ({"milter_data_macros": "j"}, MASTER, {}),
    "postfix-macros: the queue id at the end": ({"milter_end_of_data_macros": "j"}, MASTER, {}),
    "postfix-address-tests": ({"authorized_submit_users": "static:anyone"}, MASTER, {}),
    "postfix-address-tests: all but some": ({"authorized_submit_users": "!www-data, static:all"}, MASTER, {}),
    "postfix-postmaster-notices": ({"notify_classes": "resource, bounce"}, MASTER, {}),
    "postfix-postmaster-notices: of null senders": ({"notify_classes": "2bounce,software"}, MASTER, {}),
    "postfix-recipient-limit": ({"smtpd_recipient_limit": "100"}, MASTER, {}),
    "postfix-recipient-limit: of a service": (
        {},
        ("smtp inet n - n - - smtpd", "submission inet n - n - - smtpd -o smtpd_recipient_limit=999"),
        {},
    ),
    "postfix-postmaster-notices: of delays": ({"notify_classes": "Delay"}, MASTER, {}),
    "postfix-original-recipient": ({}, MASTER, {"milter": {"socket": OURS, "enable_original_recipient": "no"}}),
    "postfix-original-recipient: a copy could be lost": (
        {"enable_original_recipient": "no"},
        MASTER,
        {"milter": {"socket": OURS, "enable_original_recipient": "yes"}},
    ),
    "postfix-reinjection": (
        {},
        (*MASTER, "127.0.0.1:10029 inet n - n - - smtpd"),
        {"identity": {"reinjection_ports": "10025"}},
    ),
    "postfix-reinjection: a content filter of one's own": (
        {},
        (*MASTER, "127.0.0.1:12345 inet n - n - - smtpd -o content_filter="),
        {},
    ),
    "postfix-reinjection-public": ({}, MASTER, {"identity": {"reinjection_ports": "587"}}),
    "postfix-no-login": ({"smtpd_sasl_auth_enable": "no"}, MASTER, {}),
    "postfix-anonymous-login": ({"smtpd_sasl_security_options": "noplaintext"}, MASTER, {}),
    "postfix-login-realm": ({"smtpd_sasl_local_domain": "elsewhere.test"}, MASTER, {}),
    "postfix-xclient": ({"smtpd_authorized_xclient_hosts": "192.0.2.7"}, MASTER, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_finding_and_no_other(tmp_path: Path, case: str) -> None:
    main, services, options = CASES[case]
    report = report_on(tmp_path, main, services, options)
    assert codes(report) == {case.partition(":")[0]}
    assert all(one.text and one.remedy for one in report.findings)


@pytest.mark.parametrize(
    "services",
    [
        (*MASTER, "127.0.0.1:10025 inet n - n - - smtpd -o smtpd_milters= -o content_filter="),
        (*MASTER, "127.0.0.1:10028 inet n - n - - smtpd"),
        (*MASTER, "127.0.0.1:10999 inet n - n - - smtpd -o content_filter= -o smtpd_milters="),
        ("127.0.0.1:587 inet n - n - - smtpd",),
    ],
)
def test_ports_on_which_all_is_well(tmp_path: Path, services: tuple[str, ...]) -> None:
    assert report_on(tmp_path, services=services).findings == ()


@pytest.mark.parametrize(
    ("main", "cleanup", "setting"),
    [
        ("yes", "", "yes"),
        ("no", "", "no"),
        ("no", "", "auto"),
        ("yes", " -o enable_original_recipient=no", "no"),
        ("no", " -o enable_original_recipient=yes", "yes"),
    ],
)
def test_postfix_and_we_mean_the_same_recipients(tmp_path: Path, main: str, cleanup: str, setting: str) -> None:
    options = {"milter": {"socket": OURS, "enable_original_recipient": setting}}
    rest = (REST[0], REST[1] + cleanup)
    assert report_on(tmp_path, {"enable_original_recipient": main}, options=options, rest=rest).findings == ()


def test_nobody_may_submit(tmp_path: Path) -> None:
    assert report_on(tmp_path, {"authorized_submit_users": ""}).findings == ()


def test_notices_of_one_service(tmp_path: Path) -> None:
    rest = (*REST, "bounce unix - - n - 0 bounce -o notify_classes=bounce,delay", "defer unix - - n - 0 bounce")
    (text,) = texts(report_on(tmp_path, rest=rest), "postfix-postmaster-notices")
    assert text == "bounce/unix: notify_classes = bounce,delay"


def test_our_settings_in_braces_beat_those_of_main_cf(tmp_path: Path) -> None:
    ours = f"{{ {OURS}, default_action = tempfail, command_timeout = 30s }}"
    report = report_on(
        tmp_path, {"smtpd_milters": ours, "milter_default_action": "accept", "milter_command_timeout": "1s"}
    )
    assert report.findings == ()


def test_a_longer_deadline_needs_a_longer_timeout(tmp_path: Path) -> None:
    report = report_on(tmp_path, options={"ldap": {"lookup_deadline": "30"}})
    assert texts(report, "postfix-timeout") == ["milter_command_timeout = 30s, [ldap] lookup_deadline = 30"]


def test_a_chrooted_service_does_not_find_the_socket(tmp_path: Path) -> None:
    socket = f"unix:{tmp_path / 'milter.sock'}"
    main = {"smtpd_milters": socket, "non_smtpd_milters": socket, "queue_directory": "/var/spool/postfix"}
    report = report_on(
        tmp_path,
        main,
        ("smtp inet n - y - - smtpd",),
        {"milter": {"socket": socket}},
        ("pickup unix n - n 60 1 pickup", "cleanup unix n - y - 0 cleanup"),
    )
    assert codes(report) == {"postfix-chroot"}
    assert len(report.findings) == 2


def test_a_chrooted_service_that_finds_it(tmp_path: Path) -> None:
    main = {"smtpd_milters": "unix:run/m.sock", "non_smtpd_milters": "unix:run/m.sock"}
    report = report_on(
        tmp_path,
        main,
        ("smtp inet n - y - - smtpd",),
        {"milter": {"socket": "unix:/var/spool/postfix/run/m.sock"}},
        ("cleanup unix n - y - 0 cleanup",),
    )
    assert report.findings == ()


def test_milters_switched_off_for_local_mail(tmp_path: Path) -> None:
    pickup = "pickup unix n - n 60 1 pickup -o receive_override_options=no_milters"
    report = report_on(tmp_path, rest=(pickup, REST[1]))
    assert texts(report, "postfix-milters-off") == ["pickup/unix: receive_override_options has no_milters"]


def test_a_configuration_that_postconf_refuses(tmp_path: Path) -> None:
    report = Report()
    delimiter = postfix.check(config_of(tmp_path), report, directory=tmp_path / "nowhere")
    assert codes(report) == {"postfix-unreadable"}
    assert delimiter is None


def test_no_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postfix, "find_postconf", lambda: None)
    report = Report()
    postfix.check(config_of(tmp_path), report, directory=None)
    assert codes(report) == {"postfix-absent"}


def test_parameters_are_expanded(tmp_path: Path) -> None:
    report = report_on(tmp_path, {"mua_milters": OURS, "smtpd_milters": "$mua_milters"})
    assert report.findings == ()


def test_services_as_postconf_tells_them(tmp_path: Path) -> None:
    report_on(tmp_path, services=("192.0.2.1:2525 inet n - - - - smtpd -o smtpd_milters=a,b -o myhostname=x.test",))
    postconf = find_postconf()
    assert postconf is not None
    (service,) = (one for one in read_postfix(postconf, tmp_path / "postfix").services if one.command == "smtpd")
    assert (service.port, service.chrooted) == (2525, False)
    assert service.overrides == {"smtpd_milters", "myhostname"}
    assert service.parameter("myhostname") == "x.test"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("inet:a:1,inet:b:2", [("inet:a:1", {}), ("inet:b:2", {})]),
        ("unix:/x  inet:b:2", [("unix:/x", {}), ("inet:b:2", {})]),
        (
            "{ inet:a:1, default_action = accept,connect_timeout=1s } unix:/x",
            [("inet:a:1", {"default_action": "accept", "connect_timeout": "1s"}), ("unix:/x", {})],
        ),
    ],
)
def test_lists_of_milters(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.address, dict(one.settings)) for one in parse_milters(text)] == expected


@pytest.mark.parametrize(
    ("listed", "ours", "same"),
    [
        ("inet:127.0.0.1:8800", "inet:8800@127.0.0.1", True),
        ("inet:localhost:8800", "inet:127.0.0.1:8800", True),
        ("inet:[::1]:8800", "inet:*:8800", True),
        ("inet:localhost:8801", "inet:127.0.0.1:8800", False),
        ("inet:192.0.2.9:8800", "inet:127.0.0.1:8800", False),
        ("inet:127.0.0.1:8800", "unix:/run/m.sock", False),
        ("unix:/run/m.sock", "unix:/run/m.sock", True),
        ("unix:/run//m.sock", "unix:/run/m.sock", True),
        ("unix:/run/other.sock", "unix:/run/m.sock", False),
        ("nonsense", "inet:127.0.0.1:8800", False),
    ],
)
def test_whose_socket_it_is(listed: str, ours: str, same: bool) -> None:  # noqa: FBT001 - a column of the table
    (milter,) = parse_milters(listed)
    assert is_ours(milter, parse_socket(ours)) is same


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("5m", 300), ("1h", 3600), ("300", 300), ("1d", 86400), ("soon", None), ("", None)],
)
def test_times_of_main_cf(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


def test_names_of_macros() -> None:
    assert macro_names("i {auth_authen}, {mail_addr}") == {"i", "auth_authen", "mail_addr"}


@pytest.mark.parametrize(
    ("milters", "behind"),
    [
        (f"{OURS}, inet:127.0.0.1:7026", ()),
        (f"inet:127.0.0.1:8891, {OURS}, inet:127.0.0.1:7026", ()),
        (f"{OURS}, inet:127.0.0.1:8893 inet:127.0.0.1:7026", ("inet:127.0.0.1:8893",)),
    ],
)
def test_milters_behind_are_kept_for_who_asks(tmp_path: Path, milters: str, behind: tuple[str, ...]) -> None:
    assert report_on(tmp_path, {"smtpd_milters": milters}).milters_behind == behind
