"""poolmalloc status, ps, stats and top --batch, on a Redis server and a Python service at work, and on processes that
have nothing to show: status_test.py TOOL LIBRARY."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import Skip, expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])

SERVICE = """
import time
sessions = {}
number = 0
print('ready', flush=True)
while True:
    for _ in range(30):
        sessions[number % 10000] = {'id': number, 'text': str(number) * 200}
        number += 1
    time.sleep(0.005)
"""

# A process that claims to publish: its thread is named like the worker, its file like the page.
PRETENDER = """
import os, struct, sys, time
head = bytes.fromhex(sys.argv[1])
open('/proc/self/comm', 'w').write('poolmalloc')
fd = os.memfd_create('poolmalloc-statistics')
os.write(fd, head)
os.ftruncate(fd, int(sys.argv[2]))
print('ready', flush=True)
time.sleep(100)
"""


def tool(*arguments, **variables):
    return harness.run([TOOL, *map(str, arguments)], harness.environment(**variables))


def output(*arguments, **variables):
    done = tool(*arguments, **variables)
    expect(done.returncode == 0 and done.stderr == b"", harness.describe(done))
    return done.stdout.decode()


def expect_refusal(code, pattern, *arguments):
    """Nothing on stdout, one line on stderr."""
    done = tool(*arguments)
    line = done.stderr.decode()
    expect(done.returncode == code and done.stdout == b"", harness.describe(done))
    if code == 1:
        expect(line.startswith("poolmalloc: ") and line.count("\n") == 1, harness.describe(done))
    expect(re.search(pattern, line), f"no {pattern!r} in: {line}")


@contextlib.contextmanager
def running(command, library=LIBRARY, ready=None, **variables):
    process = subprocess.Popen(command, env=harness.environment(library, **variables), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE if ready else subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if ready:
            expect(process.stdout.readline().strip() == ready, f"{command[0]} did not start")
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def eventually(what, attempt, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        found = attempt()
        if found:
            return found
        expect(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        time.sleep(0.1)


def wait_for_page(pid):
    eventually("a page", lambda: tool("status", pid).returncode == 0)


def redis(folder):
    if not shutil.which("redis-server"):
        raise Skip("there is no redis-server")
    return ["redis-server", "--port", "0", "--unixsocket", f"{folder}/redis", "--save", "", "--dir", folder]


def load(folder, requests=20000):
    done = harness.run(["redis-benchmark", "-s", f"{folder}/redis", "-n", str(requests), "-r", "20000", "-d", "300", "-q",
                        "-t", "set,lpush"], harness.environment())
    expect(done.returncode == 0, harness.describe(done))


def is_about(text, size):
    """Whether "12.3 MiB" says the size."""
    number, unit = text.split()
    scale = 1024 ** ("B", "KiB", "MiB", "GiB").index(unit)
    return abs(float(number) * scale - size) <= scale * 0.06


def server_under_load():
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder, running(redis(folder), POOLMALLOC_WORKER="always",
                                                          POOLMALLOC_DEPOT_BYTES="8m") as server:
        pid = server.pid
        wait_for_page(pid)
        eventually("redis", lambda: os.path.exists(f"{folder}/redis"))
        load(folder)
        text = output("status", pid)
        for line in (rf"^redis-server \(pid {pid}\) runs on poolmalloc [0-9.]+$", "^  mode +(rseq|locked) magazines, best fit$",
                     r"^  since +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, .* ago$", "depot_bytes=8m", "worker=always",
                     "^  worker +running, ", "^  pressure +calm", "^  live +[0-9.]+ MiB in [0-9,]+ objects$",
                     "^  given back +"):
            expect(re.search(line, text, re.M), f"no {line!r} in\n{text}")
        status = json.loads(output("status", pid, "--json"))
        expect(status["active"] and status["pid"] == pid and status["library"] == LIBRARY, status)
        expect(status["options"] == {"worker": "always", "depot_bytes": "8m"}, status)
        expect(status["live_bytes"] > 5_000_000 and status["page_age_seconds"] < 30, status)
        # The formats are those of the library's own report, and tell of the same moment's order of magnitude.
        report = json.loads(output("stats", pid, "--format", "json"))
        expect(report["allocations"] > 20000 and report["classes"], "no allocations")
        metrics = output("stats", pid, "--format", "openmetrics")
        expect(metrics.endswith("# EOF\n") and "poolmalloc_allocations_total " in metrics, metrics[-300:])
        expect("Magazines of the CPUs" in output("stats", pid), "no text report")
        # As the kernel sees it.
        resident = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        shown = eventually("RSS that agrees", lambda: (value := json.loads(output("status", pid, "--json"))["resident_bytes"])
                           and abs(value - resident) < resident / 10 and value)
        expect(shown, "RSS")
        # A process that is stopped can be looked at, and then everything tells of the same moment.
        server.send_signal(signal.SIGSTOP)
        text = output("status", pid)
        status = json.loads(output("status", pid, "--json"))
        report = json.loads(output("stats", pid, "--format", "json"))
        for name in ("live_bytes", "dirty_bytes", "clean_bytes", "committed_bytes", "resident_bytes"):
            expect(status[name] == report[name], f"{name}: {status[name]} and {report[name]}")
        expect(report["clean_bytes"] != report["dirty_bytes"], "saved and not saved cannot be told apart")
        for row, size in (("saved", report["clean_bytes"]), ("live", report["live_bytes"])):
            expect(is_about(re.search(rf"^  {row} +([0-9.]+ \w+) ", text, re.M)[1], size), f"{row} is not {size} in\n{text}")
        expect(abs(status["started"] - begun) <= 3, f"started {status['started']}, not {begun}")
        expect(abs(status["running_seconds"] - (time.time() - begun)) <= 3, status)
        server.send_signal(signal.SIGCONT)
        frame = output("top", "--once", pid, COLUMNS=120)
        for line in (rf"^poolmalloc top  redis-server \(pid {pid}\)  up ", "^pressure +calm", r"^mappings +\d+ of \d",
                     r"^live +[0-9.]+ MiB  in [0-9,]+ objects", "^RSS ", "^dirty ", "^cached ", "^huge pages ", "^forecast ",
                     "^rates +malloc ", "^Size classes by live memory$", r"^ +size +objects"):
            expect(re.search(line, frame, re.M), f"no {line!r} in\n{frame}")
        frames = output("top", "--batch", "-n", 3, "-d", 0.2, "--pane", "events", pid)
        expect(frames.count("poolmalloc top ") == 3 and frames.count("Events, the newest first") == 3, frames)
        expect("worker     began to watch" in frames, frames)
        cpus = output("top", "--once", "--pane", "cpus", pid)
        expect(re.search(r"^ +\d+ +[\d,]+ +[\d.]+ [KM]?i?B", cpus.split("Magazines of the CPUs")[1], re.M), cpus)
        expect("Memory nodes" in output("top", "--once", "--pane", "nodes", pid), "nodes")
        expect_refusal(1, "top needs a terminal", "top", pid)
        server.kill()
        server.wait()
        expect_refusal(1, f"there is no process {pid}", "status", pid)


def service_by_default():
    """Nothing is asked for: the process is a second old and has some heap, so it publishes, and ps lists it."""
    with running([sys.executable, "-c", SERVICE], ready=b"ready") as service, \
            running(["sleep", "100"]) as small:
        pid = service.pid
        wait_for_page(pid)
        first = json.loads(output("stats", pid, "--format", "json"))
        eventually("numbers that move", lambda: json.loads(output("stats", pid, "--format", "json"))["allocations"]
                   > first["allocations"] + 1000)
        eventually("its program", lambda: pathlib.Path(f"/proc/{small.pid}/comm").read_text() == "sleep\n")
        processes = {p["pid"]: p for p in json.loads(output("ps", "--json"))}
        expect(list(processes) == sorted(processes), f"not by pid: {list(processes)}")
        expect(processes[pid]["state"] == "published" and processes[pid]["live_bytes"] > 1_000_000, processes[pid])
        expect(processes[small.pid]["state"] == "unpublished", processes[small.pid])
        done = tool("ps")
        text = done.stdout.decode()
        expect(done.returncode == 0 and re.search(rf"^ *{pid}  python\S* .*(rseq|locked)$", text, re.M), text)
        expect(re.search(rf"^ *{small.pid}  sleep .* publishes nothing yet$", text, re.M), text)
        # Without a pid: the only one that publishes, unless other tests' processes do as well.
        if len([p for p in processes.values() if p["state"] == "published"]) == 1:
            done = tool("status")
            expect(f"(pid {pid})".encode() in done.stdout or b"name one of" in done.stderr, harness.describe(done))
        expect_refusal(1, r"\(sleep\) runs on poolmalloc, but it publishes no statistics yet", "status", small.pid)
    with running(["sleep", "100"], POOLMALLOC_WORKER="off") as small:
        eventually("its program", lambda: pathlib.Path(f"/proc/{small.pid}/comm").read_text() == "sleep\n")
        expect_refusal(1, "because of POOLMALLOC_WORKER=off", "status", small.pid)


def forks():
    """A child has a page of its own, and the parent keeps its."""
    program = ("import os, sys, time\n"
               "data = [bytes(5000) for _ in range(2000)]\n"
               "time.sleep(0.5)\n"
               "child = os.fork()\n"
               "data += [bytes(5000) for _ in range(2000 if child == 0 else 10)]\n"
               "print('ready', flush=True)\n"
               "time.sleep(100)\n")
    with running([sys.executable, "-c", program], ready=b"ready", POOLMALLOC_WORKER="always") as parent:
        children = eventually("a child", lambda: pathlib.Path(
            f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())
        child = int(children[0])
        try:
            wait_for_page(child)
            count = eventually("its count", lambda: json.loads(output("stats", child, "--format", "json")))["fork_children"]
            expect(count == 1, count)
            expect(json.loads(output("stats", parent.pid, "--format", "json"))["fork_children"] == 0, "the parent's")
            eventually("the child's own heap", lambda: json.loads(output("stats", child, "--format", "json"))["live_bytes"]
                       > json.loads(output("stats", parent.pid, "--format", "json"))["live_bytes"] + 5_000_000)
        finally:
            os.kill(child, signal.SIGKILL)


def nothing_to_show():
    with running(["sleep", "100"], library=None) as other:
        eventually("its program", lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n")
        expect_refusal(1, r"\(sleep\) does not run on poolmalloc but on glibc's own malloc; start it with: poolmalloc run sleep",
                       "status", other.pid)
    if shutil.which("redis-server"):
        with tempfile.TemporaryDirectory() as folder, running(redis(folder), library=None) as other:
            eventually("redis", lambda: os.path.exists(f"{folder}/redis"))
            maps = pathlib.Path(f"/proc/{other.pid}/maps").read_text()
            name = r"jemalloc \(libjemalloc" if "libjemalloc" in maps else "glibc's own"
            expect_refusal(1, f"but on {name}", "stats", other.pid)
    gone = subprocess.Popen(["true"])
    eventually("its end", lambda: " Z " in pathlib.Path(f"/proc/{gone.pid}/stat").read_text())
    expect_refusal(1, "has ended", "status", gone.pid)
    gone.wait()
    for command in ("status", "stats", "top"):
        expect_refusal(1, f"there is no process {gone.pid}", command, gone.pid)
    for bad in ("abc", "0", "1x", "99999999999999999999", "1.5", ""):
        expect_refusal(2, "is not the number of a process", "status", bad)
    for bad in (("stats", "--format", "xml"), ("status", "1", "2"), ("top", "-d", "0"), ("top", "-n", "0"), ("ps", "1")):
        expect(tool(*bad).returncode == 2, bad)
    for name in ("status", "ps", "stats", "top"):
        expect(tool(name, "--help").returncode == 0, name)


def other_users():
    if os.geteuid() != 0:
        expect_refusal(1, r"^poolmalloc: process 1 \(\S+\) belongs to user root", "status", 1)
        return
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder, running(["sleep", "100"], library=None) as other:
        os.chmod(folder, 0o755)
        copy = shutil.copy(TOOL, folder)
        done = harness.run([copy, "status", str(other.pid)], harness.environment(), user=nobody, group=nobody,
                           extra_groups=[], cwd="/")
        expect(done.returncode == 1 and done.stdout == b"" and re.fullmatch(
            rf"poolmalloc: process {other.pid} \(\S+\) belongs to user root; only that user and root may look at it\n",
            done.stderr.decode()), harness.describe(done))
        listed = harness.run([copy, "ps", "--json"], harness.environment(), user=nobody, group=nobody, extra_groups=[],
                             cwd="/")
        expect(listed.returncode == 0 and json.loads(listed.stdout) == [], harness.describe(listed))


def pretenders():
    magic = 0x316C6F6F706D6770
    page = magic.to_bytes(8, "little")

    def head(layout, length, version):
        return (page + layout.to_bytes(4, "little") + length.to_bytes(4, "little") + (7).to_bytes(8, "little")
                + version.ljust(24, b"\0") + bytes(16)).hex()

    mine = output("--version").split()[1]
    for data, length, pattern in (
        (head(1, 4096, mine.encode()), 4096, rf"runs another build of poolmalloc {re.escape(mine)}, whose statistics "),
        (head(99, 4096, b"9.9.9"), 4096, r"runs poolmalloc 9\.9\.9, and this command is of "),
        (head(1, 4096, b"0.0.\x1b[31m"), 4096, r"runs poolmalloc 0\.0\.\?\[31m, and "),
        ("00" * 64, 4096, "does not run on poolmalloc"),
        (head(99, 4096, b"9.9.9"), 40, "does not run on poolmalloc"),
        ("", 0, "does not run on poolmalloc"),
    ):
        with running([sys.executable, "-c", PRETENDER, data, str(length)], library=None, ready=b"ready") as process:
            expect_refusal(1, pattern, "status", process.pid)
    # The right head, but a file that its owner could make shorter under our hands.
    with running([sys.executable, "-c", SERVICE], ready=b"ready", POOLMALLOC_WORKER="always") as service:
        wait_for_page(service.pid)
        for fd in pathlib.Path(f"/proc/{service.pid}/task").glob("*/fd/*"):
            with contextlib.suppress(OSError):
                if "poolmalloc-statistics" in os.readlink(fd):
                    whole = fd.read_bytes()
        with running([sys.executable, "-c", PRETENDER, whole[:128].hex(), str(len(whole))], library=None,
                     ready=b"ready") as process:
            expect_refusal(1, "does not run on poolmalloc", "stats", process.pid)


FULL_DISK = b"poolmalloc: cannot write to stdout: No space left on device\n"
COMMANDS_THAT_PRINT = (
    "--version", "--help", "status --help", "ps", "ps --json", "status PID", "status PID --json", "stats PID",
    "stats PID --format json", "stats PID --format openmetrics", "top --once PID", "top --once --pane sites PID", "doctor",
    "doctor PID --json", "advise PID", "advise PID --json", "get PID", "get PID memory_price", "get PID --json",
    "set PID memory_price=30", "trim PID", "trim PID --json", "topology", "topology --json", "prof top PID",
    "prof dump PID --format collapsed", "leaks PID", "report PID --for 1s -o -", "options", "options --markdown", "metrics",
    "manual", "completion bash", "fleet rules", "fleet dashboard", "simulate --family sine --seconds 20")


def full_disk():
    with running([sys.executable, "-c", SERVICE], ready=b"ready", POOLMALLOC_WORKER="always") as service:
        wait_for_page(service.pid)
        output("prof", "start", service.pid, "--rate", "64k")
        for command in COMMANDS_THAT_PRINT:
            words = [str(service.pid) if word == "PID" else word for word in command.split()]
            plain = tool(*words)
            if b"without hwloc" in plain.stderr:
                continue
            expect(plain.returncode in (0, 3) and plain.stdout, harness.describe(plain))
            with open("/dev/full", "wb") as full:
                done = subprocess.run([TOOL, *words], stdout=full, stderr=subprocess.PIPE, env=harness.environment(),
                                      timeout=60)
            expect(done.returncode == 1 and done.stderr.count(b"cannot write") == done.stderr.count(FULL_DISK) == 1,
                   f"{command}: exit code {done.returncode}, {done.stderr}")


def test():
    for part in (nothing_to_show, other_users, pretenders, full_disk, forks, service_by_default, server_under_load):
        print(part.__name__, flush=True)
        part()


if __name__ == "__main__":
    harness.main(test)
