"""What the tests of poolmalloc serve share: processes on the library, a server beside them, and questions to it."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

# Holds some objects of several sizes and then sleeps: its numbers stand still.
IDLE = """
import time
kept = [bytes(100 + i % 4000) for i in range(20000)] + [bytes(1 << 20) for _ in range(8)]
print("ready", flush=True)
time.sleep(600)
"""

# Grows by some MiB a second towards its limit of 160 MiB, and stays just below it.
GROWING = """
import time
print("ready", flush=True)
kept = []
while len(kept) < 34:
    kept.append([bytes(60000) for _ in range(72)])
    time.sleep(0.3)
time.sleep(600)
"""


@contextlib.contextmanager
def started(command, env, **options):
    process = subprocess.Popen(command, env=env, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@contextlib.contextmanager
def python_on(library, source, **variables):
    """A Python program on the library that has printed its first line."""
    env = harness.environment(library, POOLMALLOC_WORKER="always", PYTHONMALLOC="malloc", **variables)
    with started([sys.executable, "-c", source], env, stdout=subprocess.PIPE) as process:
        expect(process.stdout.readline() == b"ready\n", "the program did not start")
        yield process


@contextlib.contextmanager
def redis_on(library):
    """redis-server on the library, with keys in it; None where it is not installed."""
    if not shutil.which("redis-server"):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "redis"))
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--daemonize", "no", "--dir", folder]
        with started(command, harness.environment(library, POOLMALLOC_WORKER="always"), stdout=subprocess.DEVNULL) as process:
            wait_for("redis", lambda: os.path.exists(path))
            harness.run(["redis-cli", "-s", path, "debug", "populate", "20000", "key", "200"], harness.environment())
            yield process


class Server:
    """poolmalloc serve on a port of its own choice."""

    def __init__(self, process, line):
        self.process = process
        self.line = line
        found = re.search(r"http://(\S+?)/", line)
        expect(found, f"no address in {line!r}")
        self.address = found[1]

    def get(self, path, accept=None, method="GET"):
        """Status, headers, body."""
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        if accept:
            request.add_header("Accept", accept)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers, answer.read().decode()

    def json(self, path):
        status, _, text = self.get(path)
        expect(status == 200, f"{path}: {status} {text}")
        return json.loads(text)


@contextlib.contextmanager
def server(tool, *arguments, listen="127.0.0.1:0"):
    command = [tool, "serve", "--listen", listen, *map(str, arguments)]
    with started(command, harness.environment(), stderr=subprocess.PIPE) as process:
        yield Server(process, process.stderr.readline().decode())


def wait_for(what, condition, seconds=60):
    """Its first true answer. The time is for a machine under load; a healthy one needs little of it."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.1)


def wait_until_read(one, process):
    """Until the server reads the process's statistics."""
    return wait_for(f"statistics of {process.pid}", lambda: one.get(f"/api/process/{process.pid}")[0] == 200)


def statistics(tool, pid):
    done = harness.run([tool, "stats", str(pid), "--format", "json"], harness.environment())
    expect(done.returncode == 0, harness.describe(done))
    return json.loads(done.stdout)


def settled(tool, pid):
    """The statistics once two readings, with a write between them, do not differ in what the program holds."""
    def same():
        first = statistics(tool, pid)
        time.sleep(0.7)
        second = statistics(tool, pid)
        held = ("live_bytes", "live_objects", "allocations", "dirty_bytes", "clean_bytes", "decommitted_bytes")
        return second if all(first[name] == second[name] for name in held) and second["live_bytes"] > 0 else None
    return wait_for("numbers that stand still", same)
