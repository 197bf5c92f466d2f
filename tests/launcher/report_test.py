"""poolmalloc record and report, on real processes and in a real browser: report_test.py PART TOOL LIBRARY."""

import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect
from browser import Tables, browse, colours_in, find_browser
from served import GROWING, IDLE, python_on, settled, statistics, wait_for

PART = sys.argv[1]
TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[2:4])

# Two sites of a program whose names are what a browser must not believe.
PROFILE = """poolmalloc-profile 1
process 4321 1700000000 /srv/</script><script>document.title='broken'</script>
taken 1700000100.000
started 1700000001.000
period 1
dropped 0
site 1 1000 90 60 80 10 age 10 10 40 0 0 0 0 0 stack 1000 2000
site 2 64 500 100 100 400 age 100 0 0 0 0 0 0 0 stack 3000 2000
end 2
"""

RESULTS = {"about": {"title": "a run", "date": "2026-01-02", "machine": "two CPUs"},
           "summary": [{"allocator": "poolmalloc", "rows": 2, "cpu": 1.1, "wall": 1.0, "peak_kib": 1.25, "average_kib": 1.2},
                       {"allocator": "<b>libc</b>", "rows": 2, "cpu": 1.4, "wall": 1.3, "peak_kib": 2.5, "average_kib": None}],
           "rows": [{"name": "server", "question": "how", "medians": {"poolmalloc": {"peak_kib": 2048, "cpu": 1},
                                                                      "<b>libc</b>": {"peak_kib": 4096.5, "cpu": 2}}}]}


def tool(*arguments, **options):
    return harness.run([TOOL, *map(str, arguments)], harness.environment(), **options)


def succeed(*arguments, **options):
    done = tool(*arguments, **options)
    expect(done.returncode == 0, harness.describe(done))
    return done


def refuse(words, *arguments, code=1, **options):
    done = tool(*arguments, **options)
    text = done.stderr.decode()
    expect(done.returncode == code and text.count("\n") == 1 and text.startswith("poolmalloc: ") and words in text,
           f"wanted one line with {words!r} and {code}: {harness.describe(done)}")
    return done


def bytes_text(value):
    """As the command writes it."""
    unit = 0
    while value >= 1024 << 10 * unit and unit < 5:
        unit += 1
    if unit == 0:
        return f"{value} B"
    tenths = (value * 10 + (1 << 10 * unit >> 1)) >> 10 * unit  # a half goes up
    return f"{tenths // 10}.{tenths % 10} " + ["KiB", "MiB", "GiB", "TiB", "PiB"][unit - 1]


def tables_of(text):
    found = Tables()
    found.feed(text)
    return found


def check_tables(found, want):
    """The tables of the page against what `stats --format json` says."""
    last = found.tables["timeline-table"][-1]
    expect(last[1] == bytes_text(want["live_bytes"]) and last[3] == bytes_text(want["dirty_bytes"]), f"{last}")
    rows = {row[0]: row for row in found.tables["classes-table"][1:]}
    held = [one for one in want["classes"] if one["slot_capacity"] > 0]
    expect(len(rows) == len(held) + 1 and len(held) > 10, f"{len(rows)} rows for {len(held)} classes")
    for one in held:
        row, size = rows[f"{one['size']:,}"], one["size"]
        cells = [f"{one['live_objects']:,}", bytes_text(size * one["live_objects"])]
        expect(row[1:3] == cells and row[5] == f"{one['slot_capacity']:,}", f"{row}, not {cells}")
    expect(rows["larger"][1:3] == [f"{want['large_objects']:,}", bytes_text(want["live_large_bytes"])], f"{rows['larger']}")


def in_the_browser(page, folder, log, width, height, name, *arguments):
    """Opens the page; expects that it was drawn and that nothing was asked of any network."""
    picture = pathlib.Path(folder, name)
    text = browse(find_browser(), page.as_uri(), folder, f"--window-size={width},{height}", f"--screenshot={picture}",
                  "--dump-dom", f"--log-net-log={log}", "--disable-background-networking", "--disable-component-update",
                  "--disable-sync", "--no-first-run", *arguments)
    asked = set(re.findall(r'"url":"((?:https?|wss?|ftp):[^"]*)"', log.read_text()))
    ours = {url for url in asked if "google" not in url and "gvt1" not in url}  # the browser's own errands
    expect(not ours, f"the page asked for {ours}")
    return text, picture


def page_test():
    """Everything at once: an idle process, whose numbers are known, with a profile and a comparison."""
    find_browser()
    with tempfile.TemporaryDirectory() as folder, python_on(LIBRARY, IDLE) as process:
        where = pathlib.Path(folder)
        (where / "raw.txt").write_text(PROFILE)
        (where / "results.json").write_text(json.dumps(RESULTS))
        page = where / "report.html"
        wait_for("statistics", lambda: tool("stats", process.pid).returncode == 0)
        settled(TOOL, process.pid)
        succeed("report", process.pid, "--for", "3s", "--every", "200ms", "-o", page, "--profile", where / "raw.txt", "--compare",
                where / "results.json")
        want = statistics(TOOL, process.pid)
        check_tables(tables_of(page.read_text()), want)  # as without JavaScript

        # Alone in it, the page is all there is: it is moved away from the files it was made of.
        alone = where / "elsewhere"
        alone.mkdir()
        page = page.rename(alone / "report.html")
        text, picture = in_the_browser(page, folder, where / "net.json", 1100, 2600, "page.png")
        found = tables_of(text)
        expect(found.body.get("data-drawn") == "1", "the scripts did not come to their end")
        expect(found.canvases == 2, f"{found.canvases} canvases, not the timeline's and the heat map's")
        expect("<title>broken" not in text, "a name became a script")
        check_tables(found, want)
        frames = re.findall(r'<div class="frame[^>]*title="([^"]*)"', text)
        expect(len(frames) >= 4, f"the flame graph has {len(frames)} frames")
        rows = {row[0]: row for row in found.tables["comparison-table"][1:]}
        expect(rows["<b>libc</b>"][1] == "2.50" and rows["<b>libc</b>"][3] == "–" and rows["poolmalloc"][4] == "1.10", f"{rows}")
        expect(found.tables["workloads-table"][1] == ["server", "2.0 MiB", "4.0 MiB"], f"{found.tables['workloads-table']}")
        score = int(re.search(r'id="score">(\d+)<', text)[1])
        lost = sum(int(row[0][1:]) for row in found.tables.get("deductions", [])[1:])
        expect(score == max(0, 100 - lost), f"{score} points, {lost} taken off")
        width, height, colours = colours_in(picture)
        expect((width, height) == (1100, 2600), f"{width} x {height}")
        # RSS, live memory and a full cell of the heat map are drawn in these.
        for colour in (b"\xd5\x5e\x00", b"\x00\x72\xb2", b"\x00\x52\x9b"):
            expect(colour in colours, f"nothing is drawn in #{colour.hex()}; {len(colours)} colours")

        # On a phone nothing but the tables may be wider than the screen; in the dark there is no white ground.
        _, picture = in_the_browser(page, folder, where / "net.json", 500, 2600, "phone.png",
                                    "--blink-settings=preferredColorScheme=0")
        _, _, colours = colours_in(picture)
        expect(b"\x13\x16\x1a" in colours and b"\xff\xff\xff" not in colours, "the dark page is light")
        keep = os.environ.get("REPORT_TEST_KEEP")  # to look at the pictures
        if keep:
            for path in where.rglob("*.png"):
                path.rename(pathlib.Path(keep, path.name))
            page.rename(pathlib.Path(keep, "report.html"))


def record_test():
    """A recording is a report later on; both say the same."""
    with tempfile.TemporaryDirectory() as folder, python_on(LIBRARY, GROWING, POOLMALLOC_LIMIT_SOFT="160m",
                                                                 POOLMALLOC_MAGAZINE="locked") as process:
        where = pathlib.Path(folder)
        wait_for("statistics", lambda: tool("stats", process.pid).returncode == 0)
        succeed("record", process.pid, "--for", "4s", "--every", "100ms", "-o", where / "run.jsonl")
        after = statistics(TOOL, process.pid)
        lines = [json.loads(line) for line in (where / "run.jsonl").read_text().splitlines()]
        expect(lines[0]["poolmalloc_recording"] == 1 and lines[0]["about"]["pid"] == process.pid, f"{lines[0]}")
        expect(lines[-1]["end"] == "time" and lines[-1]["samples"] >= 3, f"{lines[-1]}")
        data = json.loads(succeed("report", "--from", where / "run.jsonl", "--json").stdout)
        live = data["timeline"]["live_bytes"]
        expect(len(live) == lines[-1]["samples"] and 0 < live[0] < live[-1] <= after["live_bytes"], f"{live}, then {after['live_bytes']}")
        times = data["timeline"]["time_ms"]
        expect(len(times) == len(live) and times == sorted(set(times)), f"{times}")
        events = data["events"]
        expect(any(event["kind"] == "worker" for event in events) and
               [event["time_ms"] for event in events] == sorted(event["time_ms"] for event in events), f"{events}")
        shown = {row["size"]: row for row in data["classes_over_time"]["classes"]}
        for row in data["statistics"]["classes"]:
            if row["slot_capacity"] == 0:
                continue
            last = shown[row["size"]]["occupied_permille"][-1]
            expect(last == row["live_objects"] * 1000 // row["slot_capacity"], f"{last} of {row}")
        # Magazines behind a lock are a finding, and cost points.
        expect(data["health"]["points"] < 100 and data["health"]["deductions"], f"{data['health']}")
        expect(data["timeline"]["limit_bytes"][-1] == 160 << 20, f"{data['timeline']['limit_bytes']}")
        expect(data["process"]["options"] == {"limit_soft": "160m", "worker": "always"} or
               data["process"]["options"]["limit_soft"], f"{data['process']}")
        expect(data["statistics"]["live_bytes"] == live[-1] and data["findings"] and data["resident"], "parts are missing")
        expect(sum(part["bytes"] for part in data["resident"]) > 0 and 0 <= data["health"]["points"] <= 100, f"{data['health']}")
        # The same through stdin and stdout, and the page as well.
        text = succeed("report", "--from", "-", "-o", "-", input=(where / "run.jsonl").read_bytes()).stdout.decode()
        expect(text.startswith("<!DOCTYPE html>") and f"pid {process.pid}" in text, text[:300])
        succeed("report", "--from", where / "run.jsonl", cwd=folder)
        expect((where / f"poolmalloc-{process.pid}.html").read_text() == text, "the page has another name or text")
        # To a file that is there already, with its usual mode.
        os.umask(0o022)
        succeed("report", "--from", where / "run.jsonl", "-o", where / "page.html")
        expect((where / "page.html").stat().st_mode & 0o777 == 0o644, "the page is not readable for others")


def early_test():
    """Ctrl-C and the end of the process end a recording; what was seen is written."""
    with tempfile.TemporaryDirectory() as folder, python_on(LIBRARY, IDLE) as process:
        where = pathlib.Path(folder)
        wait_for("statistics", lambda: tool("stats", process.pid).returncode == 0)
        # On a terminal it says how far it is.
        terminal, inner = pty.openpty()
        command = [TOOL, "record", str(process.pid), "--for", "10m", "--every", "100ms", "-o", str(where / "a.jsonl")]
        recorder = subprocess.Popen(command, env=harness.environment(), stderr=inner)
        os.close(inner)
        shown = b""

        def progress():
            nonlocal shown
            while select.select([terminal], [], [], 0)[0]:
                shown += os.read(terminal, 4096)
            return re.search(rb"of 10 min[^\r]*, [2-9]\d* samples", shown)
        wait_for("progress", progress)
        recorder.send_signal(signal.SIGINT)
        expect(recorder.wait(60) == 0, "interrupted, it failed")
        os.close(terminal)
        data = json.loads(succeed("report", "--from", where / "a.jsonl", "--json").stdout)
        expect(data["recording"]["end"] == "interrupted" and data["recording"]["samples"] >= 2, f"{data['recording']}")

        report = subprocess.Popen([TOOL, "report", str(process.pid), "--for", "10m", "-o", str(where / "b.html")],
                                  env=harness.environment(), stderr=subprocess.PIPE)
        time.sleep(1.5)
        expect(report.poll() is None and not (where / "b.html").exists(), "it ended before its time")
        process.kill()
        process.wait()
        said = report.communicate(timeout=60)[1]
        expect(report.returncode == 0 and said == f"poolmalloc: the report is in {where}/b.html\n".encode(), f"{said}")
        expect("until the process ended" in (where / "b.html").read_text(), "the page does not say how it ended")
        expect(sorted(path.name for path in where.iterdir()) == ["a.jsonl", "b.html"], "something was left behind")


def bad_input_test():
    with tempfile.TemporaryDirectory() as folder, python_on(LIBRARY, IDLE) as process:
        where = pathlib.Path(folder)
        page = where / "page.html"
        wait_for("statistics", lambda: tool("stats", process.pid).returncode == 0)
        succeed("record", process.pid, "--for", "300ms", "--every", "100ms", "-o", where / "run.jsonl")
        whole = (where / "run.jsonl").read_text()
        cut = where / "cut.jsonl"
        for text, words in ((whole[:len(whole) // 2], "is cut off"), (whole.rsplit("\n", 2)[0] + "\n", "is cut off"), ("", "is empty"),
                            (PROFILE, "is not a recording"), (whole.replace('"poolmalloc_recording":1', '"poolmalloc_recording":9'), "of format 9"),
                            (whole.replace('"resident_bytes"', '"renamed_bytes"', 1), "lack some of this version's")):
            cut.write_text(text)
            refuse(words, "report", "--from", cut, "-o", page)
            expect(not page.exists(), "a page was written")
        refuse("cannot read", "report", "--from", where / "missing.jsonl", "-o", page)
        refuse("not both", "report", process.pid, "--from", cut, code=2)
        refuse("is not what scripts/bench", "report", process.pid, "--compare", cut, "-o", page)
        cut.write_text(PROFILE.rsplit("end", 1)[0])
        begin = time.monotonic()
        refuse("cut.jsonl", "report", process.pid, "--for", "10m", "--profile", cut, "-o", page)
        expect(time.monotonic() - begin < 60, "it watched before it looked at the profile")
        for words in (["--for", "soon"], ["--every", "1ms"], ["--for", "99999d"], ["--for", "18446744073709551615h"]):
            done = tool("report", process.pid, *words)
            expect(done.returncode == 2 and b"such as 30s" in done.stderr or b"not between" in done.stderr, harness.describe(done))
        for command in ("report", "record"):
            refuse("no process", command, 2 ** 22 + 1, "-o", page)
            refuse("", command, os.getpid(), "-o", page)  # this one runs on another allocator
        # A full disk: what was there stays, and nothing is left beside it.
        page.write_text("what was there")
        limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
        for command in (["report", "--from", where / "run.jsonl"], ["record", process.pid, "--for", "200ms", "--every", "100ms"]):
            refuse("cannot write", *command, "-o", page, preexec_fn=limit)
        expect(page.read_text() == "what was there", "the page is gone")
        refuse("cannot write", "report", "--from", where / "run.jsonl", "-o", "/nowhere/page.html")
        expect(sorted(path.name for path in where.iterdir()) == ["cut.jsonl", "page.html", "run.jsonl"], f"{list(where.iterdir())}")


if __name__ == "__main__":
    harness.main({"page": page_test, "record": record_test, "early": early_test, "bad_input": bad_input_test}[PART])
