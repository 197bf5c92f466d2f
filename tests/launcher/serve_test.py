"""poolmalloc serve as Prometheus, scripts, browsers and ill-wishers meet it: serve_test.py TOOL LIBRARY."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect
from served import IDLE, python_on, redis_on, server, settled, started, statistics, wait_until_read

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# Calls itself what no label may hold as it is.
BAD_NAME = "import ctypes\nctypes.CDLL(None).prctl(15, b'a\"b\\\\c\\n\\xff', 0, 0, 0)\n" + IDLE


def refusals():
    def refused(*arguments, **options):
        done = harness.run([TOOL, "serve", *arguments], harness.environment(), timeout=20, **options)
        expect(done.returncode == 1 and done.stderr.count(b"\n") == 1, harness.describe(done))
        return done.stderr.decode()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused("--listen", address)
        expect(line == f"poolmalloc: cannot listen on {address}: another program listens there\n", line)
    for bad in ("nonsense", "127.0.0.1:99999", "127.0.0.1:", "::1:80"):
        line = refused("--listen", bad)
        expect(line == f"poolmalloc: {bad} is not an address to listen on, such as 127.0.0.1:10177\n", line)
    expect("no such address" in refused("--listen", "203.0.113.7:0"), "listens on an address that is not ours")
    expect(refused("--listen", "no.such.name.invalid:80").startswith("poolmalloc: cannot listen on no.such.name"), "a name")
    expect("does not run on poolmalloc" in refused("--pid", str(os.getpid())), "serves a process that is not on it")
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    if first > 1 and (not other or subprocess.run(["/bin/true"], **other).returncode == 0):
        try:
            line = refused("--listen", "127.0.0.1:1", **other)
        except PermissionError:
            return  # that user may not read the command
        expect(line == "poolmalloc: cannot listen on 127.0.0.1:1: port 1 is for root; choose one from 1024 on\n", line)


def samples_of(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def numbers(one, process, redis):
    status, headers, text = one.get("/metrics")
    expect(status == 200 and headers["Content-Type"] == OPENMETRICS, f"{status} {headers}")
    expect(text.count("# EOF") == 1 and text.endswith("\n# EOF\n"), text[-200:])
    types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    expect(len(types) == len(set(types)), "a family twice")
    samples = samples_of(text)
    for pid, program in [(process.pid, "python3")] + ([(redis.pid, "redis-server")] if redis else []):
        expect(any(re.match(rf'poolmalloc_up{{pid="{pid}",program="{program[:6]}', name) and value == "1"
                   for name, value in samples.items()), f"no poolmalloc_up 1 for {pid}")
    want = settled(TOOL, process.pid)
    got = samples_of(one.get("/metrics")[2])
    mine = {name.split("{")[0]: value for name, value in got.items() if f'pid="{process.pid}"' in name and "class=" not in name}
    for name in ("live_bytes", "live_objects", "committed_bytes"):
        expect(int(mine[f"poolmalloc_{name}"]) == want[name], f"{name}: {mine[f'poolmalloc_{name}']}, not {want[name]}")
    expect(int(mine["poolmalloc_allocations_total"]) == want["allocations"], "allocations differ")
    expect(float(mine["poolmalloc_worker_cpu_seconds_total"]) * 1e9 >= want["worker_cpu_ns"] - 1, "worker_cpu in seconds")
    for row in want["classes"]:
        name = next(n for n in got if n.startswith("poolmalloc_class_live_objects{") and f'pid="{process.pid}"' in n
                    and f'class="{row["size"]}"' in n)
        expect(int(got[name]) == row["live_objects"], f"{name} is {got[name]}, not {row['live_objects']}")

    status, headers, text = one.get("/metrics", accept="text/plain")
    expect(headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", f"{headers}")
    expect("# TYPE poolmalloc_allocations_total counter\n" in text and "# EOF" not in text, text[:400])


def api(one, process):
    overview = next(p for p in one.json("/api/processes")["processes"] if p["pid"] == process.pid)
    want = settled(TOOL, process.pid)
    detail = one.json(f"/api/process/{process.pid}")
    for name in ("live_bytes", "live_objects"):
        expect(overview[name] == detail[name] == detail["statistics"][name] == want[name], f"{name}: {overview} {want[name]}")
    expect(detail["statistics"]["classes"] == want["classes"], "the classes differ")
    expect(detail["options"]["worker"] == "always" and detail["library"] == LIBRARY, f"{detail['options']}")
    expect(detail["events"][0]["kind"] == "worker" and abs(detail["events"][0]["time_ms"] / 1000 - time.time()) < 300,
           f"{detail['events'][:1]}")
    page = one.get("/")
    expect(page[0] == 200 and "uPlot" in page[2] and "default-src 'none'" in page[1]["Content-Security-Policy"], "the page")
    expect(not re.search(r"(src|href)=\"(?!data:)", page[2]), "the page asks for something from elsewhere")


def say(one, text, hear=True):
    host, port = one.address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(text)
    if not hear:
        return connection
    with connection:
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass  # it had more to read than it wanted
    return answer


def ill_wishers(one, process):
    before = settled(TOOL, process.pid)
    for text, status in ((b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405), (b"\x00\x01\x02\r\n\r\n", 400),
                         (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413), (b"GET / HTTP/9.9\r\n\r\n", 505),
                         (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414), (b"DELETE / HTTP/1.1\r\n\r\n", 405),
                         (b"GET /../../etc/passwd HTTP/1.0\r\n\r\n", 404), (b"GET /api/process/-1 HTTP/1.0\r\n\r\n", 400),
                         (b"GET / HTTP/1.1\r\nA: " + b"a" * 20000, 431)):
        answer = say(one, text)
        expect(answer.startswith(b"HTTP/1.1 %d " % status), f"{text[:60]}: {answer[:80]}, not {status}")
    # A page of elsewhere whose name points here must not read what is served.
    expect(say(one, b"GET /metrics HTTP/1.0\r\nHost: evil.example\r\n\r\n").startswith(b"HTTP/1.1 421 "), "any name will do")
    endless = say(one, b"GET / HTTP/1.1\r\n", hear=False)
    try:
        for _ in range(300):
            endless.sendall(b"A: b\r\n" * 1000)
    except OSError:
        pass
    endless.close()
    slow = [say(one, b"GET /metrics HTTP/1.1\r\nHost: local", hear=False) for _ in range(150)]
    greedy = [say(one, b"GET /metrics HTTP/1.1\r\n\r\n" * 20, hear=False) for _ in range(20)]  # asks, and does not read
    started_at = time.monotonic()
    expect(one.get("/metrics")[0] == 200, "the slow ones stop the others")
    took = time.monotonic() - started_at
    expect(took < 4, f"the others waited for {took:.1f} s")  # a head has five
    for connection in slow + greedy:
        connection.close()
    expect(one.process.poll() is None, "it ended")
    resident = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{one.process.pid}/status").read_text())[1])
    expect(resident < 120_000, f"it took {resident} KiB")
    after = statistics(TOOL, process.pid)
    expect(after["allocations"] == before["allocations"], "reading made the process allocate")


def unreadable():
    """A stopped process and one with an odd name disturb nobody, and a small one is counted."""
    small = [sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(600)"]
    env = harness.environment(LIBRARY, POOLMALLOC_WORKER="off")
    with python_on(LIBRARY, IDLE) as stopped, python_on(LIBRARY, BAD_NAME) as odd, \
            started(small, env, stdout=subprocess.PIPE) as silent:
        silent.stdout.readline()
        with server(TOOL, "--pid", stopped.pid, "--pid", odd.pid, "--pid", silent.pid) as one:
            for process in (stopped, odd):
                wait_until_read(one, process)
            stopped.send_signal(signal.SIGSTOP)
            text = one.get("/metrics")[2]
            expect(f'poolmalloc_up{{pid="{odd.pid}",program="a\\"b\\\\c?\N{REPLACEMENT CHARACTER}"' in text, "the odd name")
            expect(re.search(rf'poolmalloc_up{{pid="{silent.pid}".*}} 0\n', text), "no poolmalloc_up 0")
            expect(re.search(rf'poolmalloc_up{{pid="{stopped.pid}".*}} 1\n', text), "the stopped one cannot be read")
            expect('poolmalloc_serve_processes{state="unpublished"} 1\n' in text, "the silent one is not counted")
            answer = one.get(f"/api/process/{silent.pid}")
            expect(answer[0] == 404 and "POOLMALLOC_WORKER=off" in json.loads(answer[2])["error"], answer[2])
            stopped.kill()
            stopped.wait()
            expect(f'poolmalloc_up{{pid="{stopped.pid}"' not in one.get("/metrics")[2] or
                   wait_gone(one, stopped.pid), "a process that has ended is still shown")


def wait_gone(one, pid):
    time.sleep(1.5)
    return f'pid="{pid}"' not in one.get("/metrics")[2]


def choices_and_ends(process, redis):
    with server(TOOL, "--program", "redis-*") as one:
        expect(one.line.endswith("to this machine alone (--listen ADDRESS:PORT opens it to others)\n"), one.line)
        programs = {p["program"] for p in one.json("/api/processes")["processes"]}
        expect(programs <= {"redis-server"} and (not redis or programs), f"{programs}")
        answer = one.get(f"/api/process/{process.pid}")
        expect(answer[0] == 404 and "no process of that number" in answer[2], answer[2])
        one.process.send_signal(signal.SIGINT)
        expect(one.process.wait(timeout=20) == 0 and one.process.stderr.read() == b"", "SIGINT")
    with server(TOOL, "--max-processes", "1", listen="0.0.0.0:0") as one:
        expect(one.line.endswith("to everybody who can reach it, without a password\n"), one.line)
        port = one.address.rsplit(":", 1)[1]
        one.address = f"127.0.0.1:{port}"
        expect(len(one.json("/api/processes")["processes"]) == 1, "more than one process")
        expect(not redis or one.json("/api/processes")["left_out"] >= 1, "nothing was left out")
        for path, status, part in ((f"/api/process/{os.getpid()}", 404, "no process of that number"),
                                   ("/api/process/4194399", 404, "no process of that number"), ("/api/process/x", 400, "number"),
                                   ("/nothing", 404, "/api/processes")):
            answer = one.get(path)
            expect(answer[0] == status and part in answer[2], f"{path}: {answer[0]} {answer[2]}")
        open_connection = say(one, b"GET / HTTP/1.1\r\n", hear=False)
        one.process.send_signal(signal.SIGTERM)
        expect(one.process.wait(timeout=20) == 0 and one.process.stderr.read() == b"", "SIGTERM")
        open_connection.close()


def test():
    refusals()
    with python_on(LIBRARY, IDLE) as process, redis_on(LIBRARY) as redis:
        chosen = ["--pid", process.pid] + (["--pid", redis.pid] if redis else [])
        with server(TOOL, *chosen) as one:
            for each in filter(None, (process, redis)):
                wait_until_read(one, each)
            for part, arguments in ((numbers, (process, redis)), (api, (process,)), (ill_wishers, (process,))):
                print(part.__name__, flush=True)
                part(one, *arguments)
        choices_and_ends(process, redis)
    unreadable()


if __name__ == "__main__":
    harness.main(test)
