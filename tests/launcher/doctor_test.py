"""poolmalloc doctor and advise on real processes: doctor_test.py TOOL LIBRARY."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
MIB = 1 << 20


def tool(*arguments):
    return harness.run([TOOL, *map(str, arguments)], harness.environment())


class Process:
    """A Python program under the library, which says a line when it is ready."""

    def __init__(self, code, **variables):
        environment = harness.environment(LIBRARY, PYTHONMALLOC="malloc", POOLMALLOC_WORKER="always", **variables)
        self.process = subprocess.Popen([sys.executable, "-c", code + "\nprint('ready', flush=True)\ninput()"],
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.process.stdout.readline()
        deadline = time.monotonic() + 20
        while tool("status", self.process.pid).returncode != 0:
            expect(time.monotonic() < deadline, "nothing is published")
            time.sleep(0.1)

    def __enter__(self):
        return self.process.pid

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def examine(pid):
    done = tool("doctor", pid, "--json")
    report = json.loads(done.stdout)
    findings = report["machine"] + report["process"]["findings"]
    problem = any(finding["severity"] == "problem" for finding in findings)
    expect(done.returncode == (3 if problem else 0), harness.describe(done))
    for finding in findings:
        expect(finding["remedy"] or finding["severity"] in ("fine", "note", "ok"), f"no remedy: {finding}")
    return report


def about(report, word):
    return [f for f in report["process"]["findings"] if f["about"] == word]


def machine():
    done = tool("doctor")
    expect(done.returncode in (0, 3) and done.stdout.startswith(b"This machine\n"), harness.describe(done))
    report = json.loads(tool("doctor", "--json").stdout)
    expect("process" not in report and any(f["about"] == "overcommit" for f in report["machine"]), str(report))


def shares():
    """Half of many objects freed: what is between the others shows, and all shares are the resident memory."""
    code = "x = [bytes(500) for i in range(200000)]\ndel x[::2]\nimport time; time.sleep(1.5)"
    with Process(code) as pid:
        time.sleep(2.5)  # the page is written some times a second
        report = examine(pid)["process"]
        parts = report["resident"]
        total = report["resident_bytes"]
        expect(abs(sum(parts.values()) - total) <= total // 20, f"{parts} are not {total}")
        expect(parts["live objects"] > 45 * MIB, str(parts))
        freed = parts["free in slabs"] + parts["magazines"] + parts["depot"] + parts["dirty"]
        expect(freed > 20 * MIB, str(parts))
        text = tool("doctor", pid).stdout.decode()
        expect("resident memory are:" in text and "not the heap's" in text, text)
        advice = tool("advise", pid)
        expect(advice.returncode == 0 and advice.stdout.startswith(b"# "), harness.describe(advice))
        expect(isinstance(json.loads(tool("advise", pid, "--json").stdout), list), "no array")


def findings():
    with Process("import mmap", POOLMALLOC_DIRTY_BYTES="lots", POOLMALLOC_MAGAZINE="locked") as pid:
        report = examine(pid)
        expect("POOLMALLOC_DIRTY_BYTES" in about(report, "environment")[0]["what"], str(report))
        expect(about(report, "magazines")[0]["severity"] == "warning", str(report))
        expect(about(report, "limit") and about(report, "mappings"), str(report))


def problem():
    """A double free, which the process survives."""
    code = ("import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
            "p = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64)))\nlibc.free(p)\nlibc.free(p)")
    with Process(code, POOLMALLOC_MISUSE="continue") as pid:
        deadline = time.monotonic() + 30
        while not about(examine(pid), "misuse"):
            expect(time.monotonic() < deadline, "the double free is not found")
            time.sleep(0.3)
        finding = about(examine(pid), "misuse")[0]
        expect(finding["severity"] == "problem" and finding["remedy"], str(finding))
        expect(tool("doctor", pid).returncode == 3, "a problem, but the exit code does not say so")


def bad_requests():
    done = tool("doctor", os.getpid())
    expect(done.returncode == 1 and done.stdout == b"" and done.stderr.count(b"\n") == 1, harness.describe(done))
    with subprocess.Popen(["true"]) as ended:
        pass
    for command in ("doctor", "advise"):
        done = tool(command, ended.pid)
        expect(done.returncode == 1 and done.stderr.startswith(b"poolmalloc: "), harness.describe(done))
        expect(tool(command, "word").returncode == 2, "a word is no process")


def test():
    machine()
    shares()
    findings()
    problem()
    bad_requests()


if __name__ == "__main__":
    signal.alarm(110)
    harness.main(test)
