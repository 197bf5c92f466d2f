"""poolmalloc trim, set and get, and the control channel behind them, against real processes: control_test.py TOOL LIBRARY."""

import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
MIB = 1 << 20

# Holds every second of many objects, so that as much lies free; then answers lines as a service would.
SERVICE = """
import os, sys
if 'single' not in sys.argv:
    kept = [bytearray(500_000) for _ in range(400)]
    kept = kept[::2]
    gone = None
print('ready', flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == 'fork':
        children = [os.fork() for _ in range(1)]
        if children[0] == 0:
            more = [bytearray(500_000) for _ in range(50)]
            os._exit(0 if len(more) == 50 else 1)
        word = str(os.waitpid(children[0], 0)[1])
    elif word == 'child':
        child = os.fork()
        if child == 0:
            more = [bytearray(500_000) for _ in range(400)]
            print(os.getpid(), flush=True)
            sys.stdin.readline()
            os._exit(0)
        os.waitpid(child, 0)
        word = 'done'
    elif word == 'churn':
        try:
            more = [bytearray(2_000_000) for _ in range(5)]
        except MemoryError:
            word = 'refused'
    print(word, flush=True)
"""
# Free memory stays until somebody asks for it.
KEEPING = {"POOLMALLOC_WORKER": "always", "POOLMALLOC_MEMORY_PRICE": "0", "POOLMALLOC_DIRTY_BYTES": "1g"}


class Service:
    """A Python program on the library, that answers line by line."""

    def __init__(self, *arguments, library=LIBRARY, **variables):
        self.process = subprocess.Popen([sys.executable, "-c", SERVICE, *arguments],
                                        env=harness.environment(library, **variables), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        expect(self.process.stdout.readline() == "ready\n", "the service did not start")
        self.pid = self.process.pid

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def ask(self, word):
        self.say(word)
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise harness.Failure("the service did not end") from None
        if _[0] is None:
            expect(code == 0, f"the service ended with {code}")


def tool(*arguments, **options):
    return harness.run([TOOL, *map(str, arguments)], harness.environment(), **options)


def expect_exit(done, code, stderr=None):
    expect(done.returncode == code, f"expected exit code {code}: {harness.describe(done)}")
    if stderr is not None:
        expect(re.fullmatch(stderr, done.stderr.decode()), f"expected on stderr: {stderr}\n{harness.describe(done)}")


def connect(pid, timeout=20):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(timeout)
    peer.connect(f"\0poolmalloc-{pid}")
    return peer


def read_all(peer):
    text = b""
    try:
        while piece := peer.recv(65536):
            text += piece
    except ConnectionResetError:
        pass
    return text.decode()


def ask(pid, request):
    with connect(pid) as peer:
        peer.sendall(request)
        return read_all(peer)


def wait_for(pid):
    """Until the process answers; a skip where its worker cannot be had."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return ask(pid, b"ping\n")
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise harness.Failure(f"process {pid} does not listen")


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def trim_of_a_service():
    with Service(**KEEPING) as service:
        wait_for(service.pid)
        before = resident(service.pid)
        done = tool("trim", service.pid, "16m", "--json")
        expect_exit(done, 0, "")
        part = json.loads(done.stdout)
        expect(16 * MIB <= part["released_bytes"] < 64 * MIB, harness.describe(done))
        expect(part["resident_before_bytes"] - part["resident_after_bytes"] >= 12 * MIB, harness.describe(done))
        done = tool("trim", service.pid)
        expect_exit(done, 0, "")
        expect(re.fullmatch(r"gave back [\d.]+ MiB; resident [\d.]+ MiB, before [\d.]+ MiB\n", done.stdout.decode()),
               harness.describe(done))
        # Nearly half of the 200 MB was free.
        expect(resident(service.pid) < before - 80 * MIB, f"resident: {before}, then {resident(service.pid)}")
        expect(service.ask("churn") == "churn", "the service does not go on")


def set_and_get():
    with Service("single", **KEEPING) as service:
        wait_for(service.pid)
        expect(tool("get", service.pid, "dirty_bytes").stdout == b"1g\n", "the value from the environment")
        done = tool("set", service.pid, "dirty_bytes=2m", "misuse=continue")
        expect_exit(done, 0, "")
        expect(done.stdout == b"dirty_bytes=2m\nmisuse=continue\n", harness.describe(done))
        row = json.loads(tool("get", service.pid, "misuse", "--json").stdout)
        expect(row == {"pid": service.pid,
                       "options": {"misuse": {"value": "continue", "default": False, "live": True}}}, row)
        everything = json.loads(tool("get", service.pid, "--json").stdout)["options"]
        expect(everything["dirty_bytes"]["value"] == "2m" and everything["fit"] == {
            "value": "best", "default": True, "live": False}, everything)
        listed = {line.split("=")[0].removeprefix("  POOLMALLOC_").lower(): "; at any time)" in line
                  for line in tool("options").stdout.decode().splitlines() if line.startswith("  POOLMALLOC_")}
        expect(listed == {name: row["live"] for name, row in everything.items()}, "options and get disagree")
        # status tells what differs from the default now, from the next round on.
        deadline = time.monotonic() + 20
        status = ""
        while not ("dirty_bytes=2m" in status and "misuse=continue" in status) and time.monotonic() < deadline:
            status = tool("status", service.pid).stdout.decode()
        expect("dirty_bytes=2m" in status and "misuse=continue" in status, status)
        text = tool("get", service.pid).stdout.decode()
        expect(re.search(r"^dirty_bytes=2m +changed, can be set$", text, re.M), text)
        for setting, reason in {
            "fit=first": "fit=first can be set at start only",
            "foo=1": "foo=1 is not an option",
            "dirty_bytes=lots": r"dirty_bytes=lots is not a size \(a number with an optional k, m, g or t\)",
            "dirty_bytes=": r"dirty_bytes= is not a size \(a number with an optional k, m, g or t\)",
            "huge=hugetlb": "huge=hugetlb is refused: hugetlb is chosen at start only",
        }.items():
            expect_exit(tool("set", service.pid, setting), 1, f"poolmalloc: process {service.pid}: {reason}\n")
        # The first refusal ends it; what was set before is said.
        done = tool("set", service.pid, "trend_stable=30", "fit=first", "worker_cpu=20")
        expect_exit(done, 1)
        expect(done.stdout == b"trend_stable=30\n", harness.describe(done))
        expect(tool("get", service.pid, "worker_cpu").stdout == b"10\n", "set after the refusal")
        expect_exit(tool("get", service.pid, "foo"), 1, f"poolmalloc: process {service.pid}: foo is not an option\n")


def what_is_set_takes_effect():
    """A hard limit makes the allocations of a running program fail, and lifting it lets them succeed."""
    with Service("single", **KEEPING) as service:
        wait_for(service.pid)
        used = resident(service.pid)
        expect_exit(tool("set", service.pid, f"limit_hard={used // MIB * 2 + 64}m"), 0, "")
        expect(service.ask("churn") == "churn", "within the limit")
        expect_exit(tool("set", service.pid, "limit_hard=1m"), 0, "")
        expect(service.ask("churn") == "refused", "the limit was not met")
        expect_exit(tool("set", service.pid, "limit_hard=0"), 0, "")
        expect(service.ask("churn") == "churn", "the limit was not lifted")


def redis():
    """Trimmed under load: resident memory falls, the server goes on and keeps its data."""
    if not shutil.which("redis-server") or not shutil.which("redis-cli"):
        print("without redis: it is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder],
                                  env=harness.environment(LIBRARY, **KEEPING), stdout=subprocess.DEVNULL)

        def cli(*words):
            return harness.run(["redis-cli", "-s", path, *words], harness.environment()).stdout.decode().strip()

        try:
            deadline = time.monotonic() + 30
            while cli("ping") != "PONG" and time.monotonic() < deadline:
                time.sleep(0.05)
            wait_for(server.pid)
            cli("eval", "for i = 0, 59999 do redis.call('set', 'key:' .. i, string.rep('x', 2000)) end", "0")
            cli("eval", "for i = 0, 59999 do if i % 8 ~= 0 then redis.call('del', 'key:' .. i) end end", "0")
            expect(cli("dbsize") == "7500", f"keys: {cli('dbsize')}")
            before = resident(server.pid)
            stop = threading.Event()
            wrong = []

            def load():
                while not stop.is_set():
                    if cli("set", "load", "x" * 1000) != "OK" or cli("get", "load") != "x" * 1000:
                        wrong.append(1)

            clients = [threading.Thread(target=load) for _ in range(2)]
            for client in clients:
                client.start()
            trims = [tool("trim", server.pid) for _ in range(5)]
            stop.set()
            for client in clients:
                client.join()
            for done in trims:
                expect_exit(done, 0, "")
            expect(not wrong and cli("dbsize") == "7501" and cli("strlen", "key:8") == "2000", "the server lost data")
            after = resident(server.pid)
            print(f"redis-server: resident {before // MIB} MiB, after trim {after // MIB} MiB")
            expect(after < before - 60 * MIB, f"resident: {before}, then {after}")
        finally:
            server.terminate()
            server.wait(30)


def bad_requests():
    with Service("single", **KEEPING) as service:
        wait_for(service.pid)
        for request, answer in {
            b"bogus\n": "error there is no such request; there are ping, trim, set, get, options, prof start, prof stop, prof dump\n",
            b"trim 5x\n": "error 5x is not a number of bytes\n",
            b"trim 99999999999999999999\n": "error 99999999999999999999 is not a number of bytes\n",
            b"set dirty_bytes\n": "error dirty_bytes is not NAME=VALUE\n",
            b"get \x1b[31m\n": "error the request is not a line of plain text\n",
            b"ping\nping\n": "error a connection is for one request\n",
            b"a" * 513: "error the request is longer than 512 bytes\n",
            b"a" * 100_000: "error the request is longer than 512 bytes\n",
        }.items():
            said = ask(service.pid, request)
            expect(said == answer, f"{request[:40]!r}: {said!r}")
        with connect(service.pid) as slow, connect(service.pid) as slower:
            slow.sendall(b"pi")
            before = time.monotonic()
            said = read_all(slow)
            expect(said == "error the request took more than a second\n", said)
            expect(time.monotonic() - before < 10, "a slow request is waited for")
            expect(read_all(slower) == said, "a silent peer")
        # Somebody who holds every place keeps others waiting, but not for ever.
        crowd = [connect(service.pid) for _ in range(20)]
        expect(ask(service.pid, b"ping\n").startswith("ok "), "not served in the crowd")
        for peer in crowd:
            peer.close()
        expect(ask(service.pid, b"ping\n").startswith("ok "), "not served after all of that")
        expect(service.ask("churn") == "churn", "the service does not go on")


def parallel_clients():
    with Service(**KEEPING) as service:
        wait_for(service.pid)
        answers = []

        def client(i):
            answers.append(ask(service.pid, (b"ping\n", b"trim\n", b"options\n", b"set stats=0\n")[i % 4]))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(len(answers) == 50 and all(answer.startswith("ok") for answer in answers), answers)


def forks():
    """Children come into being while the parent is asked; they are no part of the parent's channel, and have their own."""
    with Service(**KEEPING) as service:
        wait_for(service.pid)
        stop = threading.Event()
        answers = []

        def client():
            while not stop.is_set():
                answers.append(ask(service.pid, b"trim\n"))
                answers.append(ask(service.pid, b"set memory_price=0\n"))

        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = [service.ask("fork") for _ in range(60)]
        stop.set()
        for thread in threads:
            thread.join()
        expect(codes == ["0"] * 60, f"exit codes of the children: {codes}")
        expect(answers and all(answer.startswith("ok") for answer in answers), answers)
        child = int(service.ask("child"))
        expect(wait_for(child).endswith(f" pid {child}\n"), "the child answers for somebody else")
        expect(wait_for(service.pid).endswith(f" pid {service.pid}\n"), "the parent has lost its name")
        service.say("end of the child")
        expect(service.process.stdout.readline() == "done\n", "the child did not end")


def gone_at_exit():
    """By SIGKILL too: the name is free at once."""
    service = Service("single", **KEEPING)
    wait_for(service.pid)
    service.process.kill()
    service.process.wait()
    try:
        connect(service.pid).close()
    except ConnectionRefusedError:
        pass
    else:
        raise harness.Failure("somebody still listens")
    expect_exit(tool("trim", service.pid), 1, f"poolmalloc: there is no process {service.pid}\n")
    service.process.stdin.close()


def other_users():
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        print("without another user: that takes root and setpriv")
        return
    nobody = pwd.getpwnam("nobody")
    as_nobody = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    client = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0poolmalloc-' + sys.argv[1])\n"
              "try: s.sendall(b'set dirty_bytes=1m\\n')\nexcept OSError: pass\n"
              "print(s.recv(1000).decode(), end='')\n")
    with Service("single", **KEEPING) as service:
        wait_for(service.pid)
        done = harness.run([*as_nobody, sys.executable, "-c", client, str(service.pid)], harness.environment(), cwd="/")
        expect(done.stdout.startswith(b"error only this process's user and root may ask"), harness.describe(done))
        done = harness.run([*as_nobody, TOOL, "trim", str(service.pid)], harness.environment(), cwd="/")
        if done.returncode not in (126, 127):  # nobody may not be able to reach the command's folder
            expect_exit(done, 1, f"poolmalloc: process {service.pid} .*belongs to user .*\n")
        expect(tool("get", service.pid, "dirty_bytes").stdout == b"1g\n", "another user changed an option")
    # Who has the name but is not the process is not believed.
    with tempfile.TemporaryDirectory() as folder, Service("single", library=None) as plain:
        squatter = socket.socket(socket.AF_UNIX)
        squatter.bind(f"\0poolmalloc-{plain.pid}")
        squatter.listen()
        expect_exit(tool("trim", plain.pid), 1, f"poolmalloc: process {plain.pid} .*does not run on poolmalloc but on .*\n")
        squatter.close()
        del folder


def other_pid_namespace():
    """A container may share the network namespace; its root is not ours."""
    probe = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if os.geteuid() != 0 or not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode != 0:
        print("without another PID namespace: it cannot be had here")
        return
    client = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0poolmalloc-' + sys.argv[1])\n"
              "try: s.sendall(b'ping\\n')\nexcept OSError: pass\nprint(s.recv(1000).decode(), end='')\n")
    with Service("single", **KEEPING) as service:
        wait_for(service.pid)
        done = harness.run(["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", client, str(service.pid)],
                           harness.environment())
        expect(done.stdout.startswith(b"error only this process's user and root may ask, from its own PID namespace"),
               harness.describe(done))


def who_does_not_answer():
    me = os.getpid()
    expect_exit(tool("trim", me), 1, f"poolmalloc: process {me} .*does not run on poolmalloc but on .*\n")
    expect_exit(tool("trim", 4194304), 1, "poolmalloc: there is no process 4194304\n")
    for bad in ([], ["x"], ["0"], ["-1"], [str(me), "x"], [str(me), "-5"], [str(me), "5x"], [str(me), "1kk"],
                [str(me), "5 "], [str(me), ""], [str(me), "9" * 20]):
        expect_exit(tool("trim", *bad), 2)
    for bad in ([], [str(me)], [str(me), "dirty_bytes"]):
        expect_exit(tool("set", *bad), 2)
    for variables, reason in (
        ({"POOLMALLOC_WORKER": "always", "POOLMALLOC_CONTROL": "off"},
         "does not listen: it was started with POOLMALLOC_CONTROL=off"),
        ({"POOLMALLOC_WORKER": "always", "POOLMALLOC_PRESET": "lean"},
         "does not listen: POOLMALLOC_PRESET=lean says so; POOLMALLOC_CONTROL=on overrules it"),
        ({"POOLMALLOC_WORKER": "off"}, "has nobody to answer: it was started with POOLMALLOC_WORKER=off"),
        ({"POOLMALLOC_ENABLED": "0"}, "was started with POOLMALLOC_ENABLED=0"),
    ):
        with Service("single", **variables) as service:
            expect_exit(tool("get", service.pid), 1, rf"poolmalloc: process {service.pid} \(python3[^)]*\) {re.escape(reason)}\n")
    with Service("single", POOLMALLOC_WORKER="always", POOLMALLOC_PRESET="lean", POOLMALLOC_CONTROL="on") as service:
        wait_for(service.pid)
    with Service("single", **KEEPING) as service:
        wait_for(service.pid)
        os.kill(service.pid, signal.SIGSTOP)
        stopped = tool("get", service.pid, "fit")
        os.kill(service.pid, signal.SIGCONT)
        expect_exit(stopped, 1, f"poolmalloc: process {service.pid} is stopped, so it cannot answer\n")


def test():
    for part in (trim_of_a_service, set_and_get, what_is_set_takes_effect, redis, bad_requests, parallel_clients, forks,
                 gone_at_exit, other_users, other_pid_namespace, who_does_not_answer):
        print(part.__name__, flush=True)
        part()


if __name__ == "__main__":
    harness.main(test)
