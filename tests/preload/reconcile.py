"""The statistics of real programs add up, and agree with what the kernel says of them: reconcile.py TOOL LIBRARY [--table].

Each program takes some memory and then rests. What its page says is compared with /proc/PID/smaps:

  committed    = live + tails + magazines + depot + free slots + dirty + clean     to the byte
  heap         heap_resident_bytes, and Rss of the mappings between heap_begin and heap_end     within 5 %
  resident     heap + records + other, and Rss of all mappings                                  within 5 %
  mapped       committed_bytes, and the size of the heap's mappings                             within 5 %
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

import json

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
TOLERANCE = 0.05
SLACK = 256 << 10  # of what is too small for a share: a page that is touched while we look

PARTS = ("live_bytes", "large_tail_bytes", "magazine_bytes", "depot_bytes", "slab_free_bytes", "slab_tail_bytes",
         "dirty_bytes", "clean_bytes")


def programs(folder):
    """Name, command, what it reads on its standard input, which stays open."""
    yield "python", [sys.executable, "-c", "import time; d = {i: 'x' * (i % 3000) for i in range(30000)}\n"
                     "for i in range(0, 30000, 3): del d[i]\ntime.sleep(1000)"], ""
    yield "perl", ["perl", "-e", "my %h; $h{$_} = 'x' x ($_ % 900) for 1..60000; delete $h{$_ * 2} for 1..20000; sleep 1000"], ""
    yield "lua", ["lua5.4", "-e", "t = {} for i = 1, 60000 do t[i] = string.rep('x', i % 700) end "
                  "for i = 1, 60000, 2 do t[i] = nil end collectgarbage() io.read()"], ""
    yield "node", ["node", "-e", "let b = []; for (let i = 0; i < 300; i++) b.push(Buffer.alloc(50000 + i, 1));"
                   "setTimeout(() => {}, 1e6)"], ""
    yield "sqlite", ["sqlite3"], ("create table t (a, b);\nwith recursive n(i) as (select 1 union all select i + 1 from n "
                                  "where i < 60000) insert into t select i, hex(randomblob(100)) from n;\n"
                                  "create index i on t (b);\n")
    yield "bash", ["bash"], "for i in {1..30000}; do a[i]=$i$i$i$i$i$i$i; done; unset 'a[7]'\n"
    yield "redis", ["redis-server", "--port", "0", "--unixsocket", f"{folder}/redis", "--save", "", "--dir", folder], ""
    yield "sort", ["sort"], "".join(f"{(i * 7919) % 100003} and some more text\n" for i in range(200_000))
    yield "awk", ["awk", "{ seen[$1] = $0 $0 $0 }"], "".join(f"{i} text {i}\n" for i in range(40000))
    yield "gcc", [shutil.which("cc1plus") or subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True,
                                                            text=True).stdout.strip(), "-quiet", "-o", "/dev/null", "-"], \
        "#include <vector>\n#include <map>\n#include <string>\nstd::map<std::string, std::vector<int>> m;\n" + "int f;\n" * 2
    yield "java", ["java", "-XX:+UseSerialGC", "-Xmx64m", f"{folder}/Rest.java"], ""


def smaps(pid, low, high):
    """Bytes of all mappings, and of those in [low, high): Rss of all, Rss and size of those."""
    everything = inside = mapped = 0
    within = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, *rest = line.split()
        if "-" in key and not key.endswith(":"):
            start, end = (int(part, 16) for part in key.split("-"))
            within = low <= start and end <= high
            mapped += end - start if within and "rw" in rest[0] else 0
        elif key == "Rss:":
            everything += int(rest[0]) << 10
            inside += int(rest[0]) << 10 if within else 0
    return everything, inside, mapped


def statistics(pid):
    done = harness.run([TOOL, "stats", str(pid), "--format", "json"], harness.environment())
    return json.loads(done.stdout) if done.returncode == 0 else None


def span(pid):
    done = harness.run([TOOL, "status", str(pid), "--json"], harness.environment())
    expect(done.returncode == 0, harness.describe(done))
    status = json.loads(done.stdout)
    return status["heap_begin"], status["heap_end"]


def close(ours, kernels):
    return abs(ours - kernels) <= max(TOLERANCE * kernels, SLACK)


def compare(pid):
    """What differs now, and the figures."""
    s = statistics(pid)
    if s is None:
        return "no page", {}
    everything, inside, mapped = smaps(pid, *span(pid))
    figures = {"committed": (s["committed_bytes"], mapped), "heap": (s["heap_resident_bytes"], inside),
               "resident": (s["heap_resident_bytes"] + s["metadata_bytes"] + s["other_bytes"], everything)}
    figures["parts"] = (sum(s[part] for part in PARTS), s["committed_bytes"])
    wrong = [name for name, (ours, theirs) in figures.items() if not close(ours, theirs)]
    if figures["parts"][0] != figures["parts"][1]:
        wrong.append("parts")
    if s["live_bytes"] < 200_000 or s["metadata_bytes"] == 0:
        wrong.append("too little to tell")
    return ", ".join(wrong), figures


def check(name, command, text, folder):
    process = subprocess.Popen(command, env=harness.environment(LIBRARY, POOLMALLOC_WORKER="always", HOME=folder),
                               stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        process.stdin.write(text.encode())
        process.stdin.flush()
        if name == "redis":
            deadline = time.monotonic() + 20
            while not os.path.exists(f"{folder}/redis") and time.monotonic() < deadline:
                time.sleep(0.1)
            harness.run(["redis-benchmark", "-s", f"{folder}/redis", "-n", "20000", "-r", "20000", "-d", "400", "-q", "-t",
                         "set,lpush"], harness.environment())
        # It rests soon; then the worker looks ever more rarely, so the page is some seconds old at worst.
        deadline = time.monotonic() + 60
        wrong, figures = compare(process.pid)
        settled = 0
        while settled < 2:
            time.sleep(0.5)
            wrong, figures = compare(process.pid)
            settled = settled + 1 if not wrong else 0
            expect(process.poll() is None, f"{name} has ended")
            expect(time.monotonic() < deadline, f"{name}: {wrong}: {figures}")
        return figures
    finally:
        process.kill()
        process.wait()


def prepare(folder):
    pathlib.Path(folder, "Rest.java").write_text(
        "public class Rest { public static void main(String[] a) throws Exception { Thread.sleep(1000000); } }\n")


def show(name, figures, table):
    line = name
    if table:
        line = name.ljust(8) + "".join(f"  {what} {ours / 1e6:9.3f} {theirs / 1e6:9.3f} {100 * ours / theirs - 100:+6.2f} %"
                                       for what, (ours, theirs) in figures.items())
    print(line, flush=True)


def test():
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        here = [(name, command, text) for name, command, text in programs(folder) if command[0] and shutil.which(command[0])]
        expect(len(here) >= 10, f"only {[name for name, _, _ in here]} are here")
        # Each rests for most of its time.
        with concurrent.futures.ThreadPoolExecutor(max_workers=6) as pool:
            started = {name: pool.submit(check, name, command, text, folder) for name, command, text in here}
            for name, run in started.items():
                show(name, run.result(), "--table" in sys.argv)


if __name__ == "__main__":
    harness.main(test)
