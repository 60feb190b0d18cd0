"""The files in `monitoring` against what /metrics says, and with Prometheus' own tool."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from operations.inspection import CHECKS
from operations.metrics.families import Families
from operations.metrics.measures import SOURCES

FOLDER = settings.BASE_DIR / "monitoring"
METRIC = re.compile(r"\bcommonplace_\w+")
# Made by Prometheus itself.
OF_PROMETHEUS = re.compile(r"\b(up|ALERTS)\b(?=\{|\s|$)")
BUILT_IN_VARIABLES = {"__rate_interval"}

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on PATH (Debian: prometheus)"
)


def loaded(name: str) -> Any:
    text = (FOLDER / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def rules() -> list[dict[str, Any]]:
    return [rule for group in loaded("alerts.yml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = loaded("grafana-dashboard.json")["panels"]
    return found


def expressions_of_panels() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def names_of_series() -> set[str]:
    """What may be asked for, by the families that /metrics answers with."""
    suffixes = {"histogram": ["_bucket", "_count", "_sum"], "counter": ["_total"], "gauge": [""]}
    families = text_string_to_metric_families(generate_latest(Families()).decode())
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


@pytest.mark.django_db(databases=["default", "operator", "metrics"])
@pytest.mark.parametrize("name", ["alerts.yml", "alerts.test.yml", "grafana-dashboard.json"])
def test_what_is_asked_for_is_measured(name: str) -> None:
    asked_for = set(METRIC.findall((FOLDER / name).read_text()))
    # Not a metric: the file with the token.
    asked_for.discard("commonplace_metrics_token")

    assert len(asked_for) > 15
    assert asked_for - names_of_series() == set()


@pytest.mark.django_db(databases=["default", "operator", "metrics"])
def test_every_gauge_is_shown_on_the_dashboard() -> None:
    shown = set(METRIC.findall("\n".join(expressions_of_panels())))
    gauges = {name for name in names_of_series() if not name.endswith(("_count", "_sum"))}

    assert gauges - shown == set()


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["annotations"]["description"].endswith("."), rule["alert"]
        assert METRIC.search(rule["expr"]) or OF_PROMETHEUS.search(rule["expr"]), rule["alert"]


def test_of_everything_that_is_asked_a_rule_says_when_it_does_not_answer() -> None:
    watched = re.compile(r'commonplace_up\{dependency=~?"([\w|]+)"\} == 0')

    found = [name for rule in rules() for names in watched.findall(rule["expr"])
             for name in names.split("|")]  # fmt: skip

    assert sorted(found) == sorted(SOURCES)


def test_every_rule_is_named_once_and_shown_firing() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names))
    assert set(re.findall(r'alertname="(\w+)"', (FOLDER / "alerts.test.yml").read_text())) == set(
        names
    )


def test_the_commands_that_descriptions_name_exist() -> None:
    text = " ".join((FOLDER / "alerts.yml").read_text().split())
    named = set(re.findall(r"manage\.py (\w+)", text))
    documents = (settings.BASE_DIR / "docs" / "operations.md").read_text()

    assert "dbinspect" in named
    assert {name for name in named if f"`{name}" not in documents} == set()


def test_the_checks_that_descriptions_name_exist() -> None:
    text = " ".join((FOLDER / "alerts.yml").read_text().split())
    named = {check for call in re.findall(r"dbinspect([a-z -]+)`", text) for check in call.split()}

    assert len(named) > 5
    assert named - set(CHECKS) == set()


def test_prometheus_is_told_the_token_by_a_file() -> None:
    (scrape,) = loaded("prometheus.yml")["scrape_configs"]

    assert scrape["metrics_path"] == "/metrics"
    assert scrape["scheme"] == "https"
    assert set(scrape["authorization"]) == {"type", "credentials_file"}
    assert scrape["job_name"] == "commonplace"
    assert loaded("prometheus.yml")["rule_files"] == ["alerts.yml"]


def test_the_dashboard_can_be_imported() -> None:
    dashboard = loaded("grafana-dashboard.json")
    (source,) = dashboard["__inputs"]
    uid = "${" + source["name"] + "}"

    assert (source["type"], source["pluginId"]) == ("datasource", "prometheus")
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 41
    assert [panel["title"] for panel in panels() if panel["type"] == "row"] == [
        "Overview",
        "API",
        "Queue and imports",
        "Database",
        "Stream and backups",
    ]
    for panel in panels():
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == uid, panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {uid}
    assert len({panel["id"] for panel in panels()}) == len(panels())
    variables = set(re.findall(r"\$(\w+)", " ".join(expressions_of_panels())))
    assert variables <= BUILT_IN_VARIABLES


def test_no_two_panels_lie_over_each_other() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in panels()]

    for title, place in places:
        assert 0 <= place["x"] <= 24 - place["w"], title
        assert place["h"] > 0, title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (one, other)


def run_promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@promtool
def test_prometheus_accepts_the_rules() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in run_promtool("check", "rules", "alerts.yml")


@promtool
def test_each_rule_fires_when_it_should_and_none_when_all_is_well() -> None:
    assert "SUCCESS" in run_promtool("test", "rules", "alerts.test.yml")


@promtool
def test_prometheus_accepts_what_panels_ask(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions_of_panels())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))

    assert f"SUCCESS: {len(recorded)} rules found" in run_promtool("check", "rules", str(path))


@promtool
@pytest.mark.django_db(databases=["default", "operator", "metrics"])
def test_prometheus_accepts_what_is_measured() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(Families()),
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr.decode()) == (0, "")
