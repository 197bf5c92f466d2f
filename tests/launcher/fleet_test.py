"""A real Prometheus that scrapes poolmalloc serve, with the rules and the dashboard of poolmalloc fleet: fleet_test.py TOOL LIBRARY."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect
from served import GROWING, IDLE, python_on, redis_on, server, settled, started, wait_for, wait_until_read

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: poolmalloc
    static_configs: [{{targets: ["{address}"]}}]
"""

# What only shows after minutes is played to promtool instead: each case is a series, a time, and the alert then.
PLAYED = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
{tests}
"""
WHO = 'job="poolmalloc",instance="h:1",pid="7",program="app"'
CASES = (
    ("PoolmallocLimitForecast", "warning", [("poolmalloc_seconds_to_limit", "500+0x60"), ("poolmalloc_forecast_confidence", "800+0x60")], 1, 4),
    ("PoolmallocLimitImminent", "critical", [("poolmalloc_seconds_to_limit", "4294967295+0x9 40+0x9")], 9, 12),
    ("PoolmallocPressureHigh", "warning", [("poolmalloc_pressure_level", "2+0x60")], 9, 11),
    ("PoolmallocPressureCritical", "critical", [("poolmalloc_pressure_level", "2+0x9 4+0x9")], 9, 12),
    ("PoolmallocEmergency", "warning", [("poolmalloc_emergencies_total", "5+0x9 6+0x30")], 9, 12),
    ("PoolmallocLimitRefusal", "critical", [("poolmalloc_limit_refusals_total", "0+0x9 1+0x30")], 9, 12),
    ("PoolmallocMemoryRefused", "critical", [("poolmalloc_commit_failures_total", "0+0x9 1+0x30")], 9, 12),
    ("PoolmallocMappingBudget", "warning", [("poolmalloc_mappings", "100+0x9 46000+0x30"), ("poolmalloc_serve_max_mappings", "65530+0x60")], 12, 16),
    ("PoolmallocMisuse", "critical", [("poolmalloc_misuses_total", "0+0x9 1+0x30")], 9, 12),
    ("PoolmallocLeakSuspected", "warning", [("poolmalloc_leak_score", "900+0x60"), ("poolmalloc_leak_growth_bytes", "9e7+0x60")], 29, 31),
    ("PoolmallocWorkerMissing", "info", [("poolmalloc_up", "0+0x60")], 14, 16),
    ("PoolmallocWorkerStalled", "warning", [("poolmalloc_statistics_age_seconds", "1+0x5 70+60x30")], 7, 9),
    ("PoolmallocForecastInaccurate", "info", [("poolmalloc_forecast_coverage", "500+0x90"), ("poolmalloc_forecast_error", "300+0x90"),
                                              ("poolmalloc_forecasts_judged_total", "500+0x90")], 59, 61),
    ("PoolmallocServeDown", "warning", [("up", "1+0x5 0+0x30")], 8, 12),
)


def fleet(part):
    done = harness.run([TOOL, "fleet", part], harness.environment())
    expect(done.returncode == 0 and not done.stderr, harness.describe(done))
    return done.stdout.decode()


def promtool(*arguments, **options):
    done = harness.run(["promtool", *arguments], harness.environment(), **options)
    expect(done.returncode == 0, harness.describe(done))


def rules_when_played(folder):
    """Every alert keeps still before its time and fires after it, and its texts are filled in."""
    names = re.findall(r"- alert: (\w+)", (folder / "rules.yml").read_text())
    expect(sorted(names) == sorted(case[0] for case in CASES), f"alerts without a case, or the reverse: {names}")
    tests = []
    for alert, severity, series, before, after in CASES:
        labels = {"up": 'job="poolmalloc",instance="h:1"', "poolmalloc_serve_max_mappings": 'job="poolmalloc",instance="h:1"'}
        values = "\n".join(f"      - {{series: '{name}{{{labels.get(name, WHO)}}}', values: '{value}'}}" for name, value in series)
        fires = f"ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}"
        tests.append(f"""  - interval: 1m
    input_series:
{values}
    promql_expr_test:
      - {{expr: 'count({fires}) or vector(0)', eval_time: {before}m, exp_samples: [{{labels: '{{}}', value: 0}}]}}
      - {{expr: 'count(ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}"}}) or vector(0)', eval_time: {after}m, exp_samples: [{{labels: '{{}}', value: 1}}]}}
""")
    (folder / "played.yml").write_text(PLAYED.format(tests="".join(tests)))
    promtool("test", "rules", str(folder / "played.yml"))


def expressions_of(rules, dashboard):
    """(where, text) of everything that names metrics."""
    found = [("rules", line) for line in re.findall(r"^\s+expr: (.*)$", rules, re.MULTILINE)]
    expect(len(found) == len(CASES), f"{len(found)} expressions in the rules")
    for panel in dashboard["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    found += [(v["name"], v["query"]["query"]) for v in dashboard["templating"]["list"] if v["type"] == "query"]
    return found


def names_exist(rules, dashboard, text):
    """Every metric that the rules and the dashboard ask for is one that serve has, or Prometheus's own `up`."""
    sample_names = set()
    ending = {"counter": "_total", "info": "_info", "gauge": ""}
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        sample_names.add(name + ending[kind])
    table = harness.run([TOOL, "metrics", "--markdown"], harness.environment()).stdout.decode()
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE):
        own = name[:-3] + "_seconds" if name.endswith("_ns") else name
        expect(any(prefix + own + ending.get(kind, "") in sample_names for prefix in ("poolmalloc_", "poolmalloc_class_")),
               f"{name} of the metrics table is not served")
    for where, expression in expressions_of(rules, dashboard):
        asked = re.findall(r"poolmalloc_\w+", expression)
        expect(asked or expression.startswith("up{"), f"{where}: no metric in {expression}")
        for name in asked:
            expect(name in sample_names, f"{where}: there is no {name}")


def dashboard_is_portable(text):
    dashboard = json.loads(text)
    expect(not re.search(r'"uid": "(?!\$\{datasource\}|poolmalloc")', text), "a data source of somebody's own")
    names = [v["name"] for v in dashboard["templating"]["list"]]
    expect(names == ["datasource", "job", "instance", "program", "pid"], f"variables: {names}")
    ids = [panel["id"] for panel in dashboard["panels"]]
    expect(len(ids) == len(set(ids)), "a panel's id twice")
    return dashboard


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prometheus(folder, address):
    """Yields a function that asks it: ask("query", query=...)."""
    (folder / "prometheus.yml").write_text(CONFIG.format(address=address))
    where = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
               f"--web.listen-address={where}", "--log.level=error"]

    def ask(what, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://{where}/api/v1/{what}?{query}", timeout=20) as answer:
                return json.load(answer)["data"]
        except (ConnectionError, OSError):
            return None
    with started(command, harness.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for("Prometheus", lambda: ask("query", query="1") is not None)
        yield ask


def value_of(ask, expression):
    found = (ask("query", query=expression) or {"result": []})["result"]
    return float(found[0]["value"][1]) if len(found) == 1 else None


def scraped(ask, process, redis, dashboard):
    want = settled(TOOL, process.pid)
    for name, value in (("live_bytes", want["live_bytes"]), ("allocations_total", want["allocations"]),
                        ("committed_bytes", want["committed_bytes"])):
        expression = f'poolmalloc_{name}{{pid="{process.pid}"}}'
        wait_for(f"{expression} = {value}", lambda e=expression, v=value: value_of(ask, e) == v)
    size = max(want["classes"], key=lambda row: row["live_objects"])
    expression = f'poolmalloc_class_live_objects{{pid="{process.pid}",class="{size["size"]}"}}'
    expect(value_of(ask, expression) == size["live_objects"], f"{expression} is not {size['live_objects']}")
    if redis:
        want = settled(TOOL, redis.pid)
        expression = f'poolmalloc_live_objects{{program="redis-server",pid="{redis.pid}"}}'
        wait_for(expression, lambda: value_of(ask, expression) == want["live_objects"])
    target = ask("targets")["activeTargets"][0]
    expect(target["health"] == "up" and not target["lastError"], f"{target}")
    # Prometheus can evaluate what the dashboard asks.
    for where, expression in expressions_of(fleet("rules"), dashboard):
        if expression.startswith("label_values"):
            continue
        for name in ("job", "instance", "program", "pid"):
            expression = expression.replace(f"${name}", ".*")
        answer = ask("query", query=expression.replace("$__rate_interval", "15s"))
        expect(answer is not None, f"{where}: Prometheus refuses {expression}")


def firing(ask, pid):
    alerts = (ask("alerts") or {"alerts": []})["alerts"]
    return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing" and a["labels"].get("pid") == str(pid)}


def test():
    rules = fleet("rules")
    dashboard = dashboard_is_portable(fleet("dashboard"))
    expect(harness.run([TOOL, "fleet", "bogus"], harness.environment()).returncode == 2, "fleet bogus")
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        raise harness.Skip("prometheus is not installed")
    with tempfile.TemporaryDirectory() as name, python_on(LIBRARY, IDLE) as process, redis_on(LIBRARY) as redis, \
            python_on(LIBRARY, GROWING, POOLMALLOC_LIMIT_SOFT="160m") as growing:
        folder = pathlib.Path(name)
        (folder / "rules.yml").write_text(rules)
        promtool("check", "rules", str(folder / "rules.yml"))
        chosen = [word for each in (process, redis, growing) if each for word in ("--pid", each.pid)]
        with server(TOOL, *chosen) as one:
            wait_until_read(one, process)
            promtool("check", "metrics", input=one.get("/metrics", accept="text/plain")[2].encode())
            names_exist(rules, dashboard, one.get("/metrics")[2])
            # What the long ones wait for is promtool's part; here the same rules are in a hurry.
            rules_when_played(folder)
            hurried, changed = re.subn(r"for: \d+[smh]", "for: 1s", rules)
            expect(changed == 10, f"{changed} of the rules wait, not 10")
            (folder / "rules.yml").write_text(hurried)
            with prometheus(folder, one.address) as ask:
                scraped(ask, process, redis, dashboard)
                wait_for("the alert that the limit is near", lambda: "PoolmallocPressureCritical" in firing(ask, growing.pid))
                expect(not firing(ask, process.pid), f"alerts for the idle process: {firing(ask, process.pid)}")
                print("fired:", sorted(firing(ask, growing.pid)))


if __name__ == "__main__":
    harness.main(test)
