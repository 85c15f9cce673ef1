"""Dashboards and alert rules: every metric that they name exists, and Prometheus' own tool reads every expression."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER, files

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded_metrics.json"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
PACKAGES = ("proxies", "kube", "queue_proxy", "activator", "autoscaler", "controller", "gateway", "broker", "eventing")
METRIC = re.compile(r'\b(?:kn|knuv|http_server|http_client|process)_[a-z_]+\b(?!\s*(?:=[~"]|!))')
LABELS = {
    *("kn_revision_name", "kn_service_name", "kn_configuration_name", "kn_route_tag"),
    *("kn_broker_name", "kn_broker_namespace", "kn_channel_name", "kn_channel_namespace"),
}
SUFFIXES = re.compile(r"(_bucket|_sum|_count)?$")


def documented() -> set[str]:
    """The names in the second column of the tables of metrics in docs/."""
    found: set[str] = set()
    for page in (ROOT / "docs").glob("*.md"):
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) > 4 and re.fullmatch(r"`[a-z_]+`", cells[2]):
                found.add(cells[2].strip("`"))
    return found


def in_code() -> set[str]:
    """Instruments that are created by name, with the suffix that their unit gives them."""
    made = re.compile(r'\.(histogram|counter|gauge)\(\s*"([a-z_.]+)",(?:[^"]|\n)*?unit="([^"]*)"')
    units = {"s": "_seconds", "By": "_bytes"}
    found: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for kind, name, unit in made.findall(path.read_text()):
                total = "_total" if kind == "counter" else ""
                found.add(name.replace(".", "_") + units.get(unit, "") + total)
    return found


def expressions(variable: str = ".*") -> Iterator[tuple[str, str]]:
    """Where each stands, and what it is, with `variable` in place of Grafana's."""
    for name in files():
        for panel in json.loads((FOLDER / name).read_text())["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$__rate_interval", "5m")
                yield f"{name}: {panel['title']}", re.sub(r"\$\w+", variable, text)
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield f"rules.yaml: {rule['alert']}", rule["expr"]


def test_the_files_are_what_the_code_renders() -> None:
    stale = [name for name, text in files().items() if (FOLDER / name).read_text() != text]
    assert stale == [], "run `python -m deploy.grafana`"


def test_every_metric_that_is_shown_or_watched_exists() -> None:
    known = documented() | in_code()
    assert len(known) > 60
    missing = {
        f"{where}: {name}"
        for where, text in expressions()
        for name in set(METRIC.findall(text)) - LABELS
        if name not in known and SUFFIXES.sub("", name) not in known
    }
    assert missing == set()


def test_every_expression_names_a_metric() -> None:
    empty = [where for where, text in expressions() if not set(METRIC.findall(text)) - LABELS]
    assert empty == []


def test_every_panel_says_what_it_is_for_and_none_covers_another() -> None:
    for name in files():
        panels = json.loads((FOLDER / name).read_text())["panels"]
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        assert len(places) == len(panels)
        assert all(len(panel["description"]) > 20 and panel["title"] for panel in panels)


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert {"summary", "description"} <= set(rule["annotations"])


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine (Debian: the package prometheus): expressions were not parsed")
    return found


def test_prometheus_reads_the_rules(promtool: str) -> None:
    checked = subprocess.run([promtool, "check", "rules", RULES], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_prometheus_reads_what_the_dashboards_ask(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"asked:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", path], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_alerts_fire_on_what_they_are_about_and_not_before(promtool: str) -> None:
    told = subprocess.run(
        [promtool, "test", "rules", Path(__file__).parent / "alerts.yaml"],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert told.returncode == 0, told.stdout + told.stderr


NEVER_RECORDED = {
    # The app of the recorded stack always answers.
    "queue-proxy.json: Requests without a response of the app",
}
# What went well has the labels of what went wrong, and the recorded stack has little of the latter.
WELL = {'result!="success"': 'result="success"', 'result="failure"': 'result="success"', '=~"5.."': '=~"2.."'}


def test_each_panel_and_alert_finds_what_a_stack_has_told(promtool: str, tmp_path: Path) -> None:
    """The expressions over recorded series: a label that does not exist would leave a panel empty for ever."""
    recorded = json.loads(RECORDED.read_text())
    series = [
        {
            "series": "{}{{{}}}".format(
                each["name"], ",".join(f"{key}={json.dumps(text)}" for key, text in each["labels"].items())
            ),
            "values": f"0+{each['value']}x20" if each["rises"] else f"{each['value']}x20",
        }
        for each in recorded
    ]
    asked = {}
    for where, text in expressions(".+"):
        found = re.sub(r"\s*(>|==)\s*[\d.]+\s*$", "", text)
        for wrong, well in WELL.items():
            found = found.replace(wrong, well)
        # No Envoy refuses anything there.
        if "xds_refusals" not in found and where not in NEVER_RECORDED:
            asked[f"absent({found})"] = where
    tests = [{"expr": text, "eval_time": "15m", "exp_samples": []} for text in asked]
    assert len(tests) > 50
    path = tmp_path / "recorded.yaml"
    whole = {"interval": "1m", "input_series": series, "promql_expr_test": tests}
    # JSON is YAML, and sooner written.
    path.write_text(json.dumps({"evaluation_interval": "1m", "tests": [whole]}))
    told = subprocess.run([promtool, "test", "rules", path], check=False, capture_output=True, text=True)
    said = (told.stdout + told.stderr).replace('\\"', '"')
    empty = {where for text, where in asked.items() if text in said}
    assert empty == set(), "nothing recorded fits; if metrics have changed: `python -m tests.deploy.record_metrics`"
    assert told.returncode == 0, said
