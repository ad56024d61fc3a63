"""Dashboard and alerts against the metrics page as it is, read by Prometheus's own promtool."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ldapmilter.daemon.metrics import page
from ldapmilter.daemon.seal_keeper import LastSeal
from ldapmilter.daemon.snapshot import RelaySnapshot, Snapshot
from ldapmilter.daemon.tally import SECONDS_BOUNDS
from tests.support.ports import HANG

CONTRIB = Path(__file__).parents[2] / "contrib"
DASHBOARD = CONTRIB / "grafana" / "ldapmilter.json"
ALERTS = CONTRIB / "prometheus" / "alerts.yml"
PROMTOOL: Final = "/usr/bin/promtool"
_NAME = re.compile(r"\bldapmilter_[a-z_]+")
_VARIABLES = {'instance=~"$instance"': 'instance=~".*"', "$__rate_interval": "5m"}

RELAY: Final = {"serves": True, "restarts": 0, "waiting": 1, "kept": 0, "oldest": 1.0, "counts": {}, "problem": None}
NOT_SHOWN: Final = {
    "ldapmilter_probes": "monitoring's own messages tell nothing of the mail",
    "ldapmilter_audit_seal": "for who compares it with a seal that is kept elsewhere",
    "ldapmilter_audit_seal_time_seconds": "always less than a minute ago, or there is an alert",
}
"""Metrics that are not on the dashboard, and why."""


@pytest.fixture(scope="module")
def families() -> dict[str, set[str]]:
    """Return the names of all samples by metric, from the page of a daemon that has something of everything."""
    return on_page(confidential=True)


def on_page(*, confidential: bool) -> dict[str, set[str]]:
    snapshot = Snapshot(
        version="1",
        counts={
            "verdicts": {"accept": 1},
            "effects": {"copy": 1},
            "servers": {"ldap://a": {"searches": 1, "failures": 1, "seconds": 1.0}},
        },
        bounds=SECONDS_BOUNDS,
        workers=2,
        workers_wanted=2,
        restarts=0,
        sessions=0,
        in_flight=0,
        cached=0,
        servers={"ldap://a": {"up": 1, "readable": 1, "last_answer": 1.0}},
        following={"why_not": None, "seconds_behind": 1.0, "changes": 1, "outdated": 0},
        not_applied=0,
        route="routed",
        relay=RelaySnapshot(state=RELAY, now=1.0, late_after=900.0, confidential=True),
        confidential=confidential,
        audit_fails=False,
        seal=LastSeal(1, 1.0),
        last_message=1.0,
        started_at=1.0,
        reloaded_at=1.0,
        reload_failed=False,
    )
    found = {
        family.name: {sample.name for sample in family.samples}
        for family in text_string_to_metric_families(page(snapshot).decode())
    }
    assert all(found.values()), found
    return found


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return board


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def alert_expressions() -> str:
    return "\n".join(re.findall(r"^\s+expr: (.*)$", ALERTS.read_text(encoding="utf-8"), re.MULTILINE))


def promtool(*arguments: str) -> str:
    done = subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_name_is_on_the_page(families: dict[str, set[str]], dashboard: dict[str, Any]) -> None:
    there = set().union(*families.values())
    for text in (*expressions(dashboard), alert_expressions(), dashboard["templating"]["list"][1]["definition"]):
        assert set(_NAME.findall(text)) - there == set(), text


def test_no_alert_needs_what_is_not_on_every_page() -> None:
    there = set().union(*on_page(confidential=False).values())
    assert set(_NAME.findall(alert_expressions())) - there == set()


def test_the_dashboard_says_what_is_not_on_every_page(dashboard: dict[str, Any]) -> None:
    there = set().union(*on_page(confidential=False).values())
    row = next(panel for panel in dashboard["panels"] if "[metrics] confidential" in panel["title"])
    for panel in dashboard["panels"]:
        names = set(_NAME.findall(" ".join(target["expr"] for target in panel.get("targets", ()))))
        assert (panel["gridPos"]["y"] > row["gridPos"]["y"]) == bool(names - there), panel["title"]


def test_every_metric_is_on_the_dashboard(families: dict[str, set[str]], dashboard: dict[str, Any]) -> None:
    shown = set(_NAME.findall(" ".join(expressions(dashboard))))
    assert {name for name, samples in families.items() if not samples & shown} == set(NOT_SHOWN)


def test_the_dashboard_asks_the_data_source_that_is_chosen(dashboard: dict[str, Any]) -> None:
    source, instance = dashboard["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert instance["datasource"]["uid"] == "${datasource}"
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert all('instance=~"$instance"}' in target["expr"] for target in panel["targets"]), panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    cells = [
        (place["x"] + across, place["y"] + down)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for across in range(place["w"])
        for down in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)  # nothing lies upon another
    assert max(across for across, _ in cells) < 24


def test_prometheus_reads_the_dashboards_queries(dashboard: dict[str, Any], tmp_path: Path) -> None:
    rules = []
    for number, expression in enumerate(expressions(dashboard)):
        for variable, value in _VARIABLES.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901 - one after the other
        rules.append({"record": f"panel:{number}", "expr": expression})
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_prometheus_reads_the_alerts() -> None:
    number = ALERTS.read_text(encoding="utf-8").count("- alert:")
    assert f"{number} rules found" in promtool("check", "rules", str(ALERTS))


@pytest.mark.parametrize(
    ("series", "alert"),
    [
        ({}, "LdapmilterGone"),
        ({"ldapmilter_workers": "0x300"}, "LdapmilterNoWorker"),
        ({"ldapmilter_worker_restarts_total": "0+1x300"}, "LdapmilterWorkersDie"),
        ({'ldapmilter_directory_up{uri="ldap://a"}': "0x300"}, "LdapmilterDirectoryDown"),
        ({'ldapmilter_directory_up{uri="ldap://a"}': "0x300", "ldapmilter_workers": "2x300"}, "LdapmilterServerDown"),
        ({'ldapmilter_directory_policy_readable{uri="ldap://a"}': "0x300"}, "LdapmilterPolicyUnreadable"),
        ({'ldapmilter_decisions_total{verdict="tempfail"}': "0+5x300"}, "LdapmilterMailWaits"),
        ({"ldapmilter_incomplete_total": "0x290 1x10"}, "LdapmilterIncomplete"),
        ({"ldapmilter_audit_failing": "0x295 1x5"}, "LdapmilterAuditFailures"),
        ({"ldapmilter_audit_seal_time_seconds": "0x300"}, "LdapmilterAuditNotSealed"),
        ({"ldapmilter_errors_total": "0x295 1x5"}, "LdapmilterErrors"),
        ({"ldapmilter_reload_failed": "1x300"}, "LdapmilterReloadFailed"),
        ({"ldapmilter_parts_not_applied": "1x300"}, "LdapmilterNotApplied"),
        (
            {f'ldapmilter_policy_configuration_info{{hash="{name}",instance="{name}"}}': "1x300" for name in "ab"},
            "LdapmilterConfigurationsDiffer",
        ),
        ({"ldapmilter_following": "0x300"}, "LdapmilterChangesNotFollowed"),
        ({"ldapmilter_following_behind_seconds": "60x300"}, "LdapmilterChangesNotFollowed"),
        ({"ldapmilter_invalid_values_total": "0x280 1x20"}, "LdapmilterInvalidValues"),
        ({"ldapmilter_last_message_time_seconds": "0x300"}, "LdapmilterNoMessage"),
        ({"ldapmilter_start_time_seconds": "0x300"}, "LdapmilterNoMessage"),
        ({"ldapmilter_stale_decisions_total": "0+1x300"}, "LdapmilterStale"),
        ({"ldapmilter_relay_up": "0x300"}, "LdapmilterRelayDown"),
        ({"ldapmilter_relay_not_routed": "1x300"}, "LdapmilterRelayNotRouted"),
        ({"ldapmilter_relay_defers": "1x300"}, "LdapmilterRelayDefers"),
        ({"ldapmilter_relay_late": "1x300"}, "LdapmilterCopiesLate"),
        ({"ldapmilter_relay_keeps": "0x290 1x10"}, "LdapmilterCopiesKept"),
        (
            {
                'ldapmilter_decision_seconds_bucket{le="2.5"}': "0x300",
                'ldapmilter_decision_seconds_bucket{le="5.0"}': "0+9x300",
                'ldapmilter_decision_seconds_bucket{le="+Inf"}': "0+9x300",
            },
            "LdapmilterSlow",
        ),
    ],
)
def test_an_alert_fires_when_it_has_to_and_not_before(tmp_path: Path, series: dict[str, str], alert: str) -> None:
    """Five hours of the case; `promql_expr_test` sees whether the alert fires at their end, and not at the start."""
    healthy = {"ldapmilter_info": "1x300", **series} if series else {}
    fires = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in healthy.items()],
        "promql_expr_test": [
            {"expr": fires, "eval_time": "299m", "exp_samples": [{"labels": "{}", "value": 1}]},
            {"expr": fires, "eval_time": "0m", "exp_samples": []},
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(
        json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}), encoding="utf-8"
    )
    promtool("test", "rules", str(file))


def test_every_alert_has_such_a_case() -> None:
    (cases,) = (mark for mark in test_an_alert_fires_when_it_has_to_and_not_before.pytestmark)  # type: ignore[attr-defined]
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    assert set(names) == {alert for _, alert in cases.args[1]}
    assert len(set(names)) == len(names)
