"""poolmalloc simulate: its tables, its JSON and CSV, its page, what it refuses: simulate_test.py TOOL."""

import csv
import io
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL = os.path.realpath(sys.argv[1])
POLICIES = ["oracle", "poolmalloc", "at once", "break-even", "after 1 s", "after 10 s", "60/300 s peaks"]
BACKINGS = ["huge", "small", "host"]


def simulate(*arguments, **options):
    return harness.run([TOOL, "simulate", *arguments], harness.environment(), **options)


def accepted(*arguments):
    done = simulate(*arguments)
    expect(done.returncode == 0 and done.stderr == b"", harness.describe(done))
    return done.stdout.decode()


def refused(line, *arguments):
    done = simulate(*arguments)
    expect(done.returncode == 2 and done.stderr.decode() == f"poolmalloc: {line}\n" and done.stdout == b"",
           f"expected {line}: {harness.describe(done)}")


def a_family():
    short = ("--family", "square_20", "--seconds", "200")
    text = accepted(*short)
    for word in POLICIES + BACKINGS:
        expect(word in text, text)
    document = json.loads(accepted(*short, "--json"))
    expect([run["backing"] for run in document["runs"]] == BACKINGS, document)
    for run in document["runs"]:
        expect([policy["policy"] for policy in run["policies"]] == POLICIES, run)
        expect(all(policy["over_oracle"] >= 1 - 1e-9 for policy in run["policies"]), run)
        expect(run["seconds"] == 200, run)
    rows = list(csv.DictReader(io.StringIO(accepted(*short, "--csv", "--backing", "small"))))
    expect([row["policy"] for row in rows] == POLICIES, rows)
    expect(accepted(*short, "--json") == accepted(*short, "--json"), "two runs differ")
    expect(accepted(*short, "--json", "--seed", "2") != accepted(*short, "--json"), "the seed changes nothing")


def a_file():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "curve.csv")
        lines = [f"{i / 2},{(400 if i // 20 % 2 else 100) << 20},{500 << 20},{620 << 20}" for i in range(600)]
        path.write_text("time_s,used_bytes,usage_bytes,limit_bytes\n" + "\n".join(lines) + "\n")
        runs = json.loads(accepted(str(path), "--json"))["runs"]
        for run in runs:
            over = {policy["policy"]: policy["over_limit_seconds"] for policy in run["policies"]}
            expect(over["poolmalloc"] == 0 and over["60/300 s peaks"] > 0, run)
        path.write_text("time_s,used_bytes\n0,5\n1,many\n")
        done = simulate(str(path))
        line = done.stderr.decode()
        expect(done.returncode == 2 and line.count("\n") == 1 and "line 3" in line, harness.describe(done))
        path.write_text("")
        done = simulate(str(path))
        expect(done.returncode == 2 and done.stderr.count(b"\n") == 1, harness.describe(done))
    refused("cannot read /nowhere/curve.csv", "/nowhere/curve.csv")


def all_families():
    document = json.loads(accepted("--all", "--seeds", "1", "--seconds", "60", "--json"))
    rows = document["rows"]
    expect(len(rows) == 3 * len({row["family"] for row in rows}) >= 30, rows)
    expect(document["worst"] == max(row["over_oracle"]["poolmalloc"] for row in rows), document)
    expect(document["above_bar"] == sum(row["over_oracle"]["poolmalloc"] > document["bar"] for row in rows), document)
    last = accepted("--all", "--seeds", "1", "--seconds", "60").splitlines()[-1]
    expect(re.fullmatch(r"poolmalloc: mean [0-9.]+, worst [0-9.]+, above 1.3 on \d+ of \d+", last), last)


def settings():
    def kept(*more):
        run = json.loads(accepted("--family", "square_20", "--seconds", "200", "--backing", "small", "--json", *more))
        return run["runs"][0]["policies"][1]["resident_to_used"]

    expect(kept("--set", "memory_price=1") > kept() + 0.1, "a low price of memory keeps no more of it")
    refused("pressure_levels=9,8 is not 5 rising numbers by comma", "--family", "sine", "--set", "pressure_levels=9,8")
    refused("foo=1 is not an option and its value; see poolmalloc options", "--family", "sine", "--set", "foo=1")


def refusals():
    refused("simulate takes a curve's file, or --family, or --all")
    refused("--backing tape is not one of huge, small, host", "--family", "sine", "--backing", "tape")
    done = simulate("--family", "nonsense")
    expect(done.returncode == 2 and done.stderr.startswith(b"poolmalloc: --family nonsense is not one of steady, "),
           harness.describe(done))
    expect(simulate("--family", "sine", "--seconds", "-1").returncode == 2, "a negative length is taken")
    expect(simulate("--family", "sine", "--hertz", "nan").returncode == 2, "a rate that is no number is taken")
    refused("cannot write /nowhere/page.html", "--family", "sine", "--seconds", "20", "--html", "/nowhere/page.html")
    done = simulate("--all", "--html", "x.html")
    expect(done.returncode == 2, harness.describe(done))


def page(folder):
    path = pathlib.Path(folder, "page.html")
    accepted("--family", "square_20", "--seconds", "600", "--html", str(path))
    text = path.read_text()
    expect(not re.search(r"https?://|\bsrc=|\bhref=|@import|url\(", text), "the page refers to something outside")
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL).group(1))
    expect(data["curve"] == "square_20" and len(data["runs"]) == 3, data["curve"])
    for run in data["runs"]:
        expect(len(run["moments"]) == 1200, f"{len(run['moments'])} moments")
        released = [sum(moment[7][i] for moment in run["moments"]) for i in range(len(data["reasons"]))]
        expect(dict(zip(data["reasons"], released)) == run["released_bytes"], run["released_bytes"])
    return path


def opened(path, folder):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise harness.Skip("the page was checked, but there is no chromium to open it in")
    done = harness.run([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
                        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000", "--dump-dom",
                        path.as_uri()], harness.environment(HOME=folder), timeout=100)
    if done.returncode != 0:
        raise harness.Skip(f"chromium does not start here: exit code {done.returncode}")
    dom = done.stdout.decode()
    expect('data-drawn="3"' in dom, f"the script did not come to its end: {dom[-2000:]}")
    expect(dom.count("<canvas") == 6, f"{dom.count('<canvas')} canvases")
    for policy in POLICIES:
        expect(dom.count(f"<td>{policy}</td>") == 3, f"no rows for {policy}")


def test():
    for part in (a_family, a_file, all_families, settings, refusals):
        print(part.__name__, flush=True)
        part()
    with tempfile.TemporaryDirectory() as folder:
        print("page", flush=True)
        opened(page(folder), folder)


if __name__ == "__main__":
    harness.main(test)
