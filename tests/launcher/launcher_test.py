"""poolmalloc run and its relatives: what is started, what is said, which exit code comes out: launcher_test.py TOOL LIBRARY."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])


def tool(*arguments, **variables):
    return harness.run([TOOL, *arguments], harness.environment(**variables))


def expect_exit(done, code, stderr=None):
    expect(done.returncode == code, f"expected exit code {code}: {harness.describe(done)}")
    if stderr is not None:
        expect(done.stderr.decode() == stderr, f"expected on stderr: {stderr}{harness.describe(done)}")


def settings_of(done):
    """The variables that matter in the output of env."""
    lines = done.stdout.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if line.startswith(("LD_PRELOAD=", "POOLMALLOC_")))


def exit_codes():
    expect_exit(tool("run", "--quiet", "sh", "-c", "exit 7"), 7)
    expect_exit(tool("run", "--quiet", "--", "sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM)
    expect_exit(tool("run", "/nowhere/program"), 127,
                "poolmalloc: cannot execute /nowhere/program: No such file or directory\n")
    expect_exit(tool("run", "/etc/passwd"), 126, "poolmalloc: cannot execute /etc/passwd: Permission denied\n")
    for bad in ([], ["bogus"], ["run"], ["run", "--"], ["run", "--bogus", "true"], ["run", "--set"]):
        expect_exit(tool(*bad), 2)
    expect_exit(tool("run", "--library", "/nowhere.so", "true"), 2, "poolmalloc: no library at /nowhere.so\n")


def bad_settings():
    for setting, reason in {
        "check=bogus": "check=bogus is not one of off, default",
        "foo=1": "foo=1: foo is not an option; see poolmalloc options",
        "foo": "--set foo is not name=value",
        "magazine_bytes=1": "magazine_bytes=1 is outside 64k..1g",
    }.items():
        expect_exit(tool("run", "--set", setting, "true"), 2, f"poolmalloc: {reason}\n")
    expect_exit(tool("run", "--stats=xml", "true"), 2,
                "poolmalloc: stats=xml is not one of 0, 1, text, json, openmetrics\n")


def what_the_program_gets():
    done = tool("run", "--stats=json", "--set", "stats_file=/dev/null", "--preset", "lean", "--set=depot_bytes=8m", "env")
    expect_exit(done, 0)
    expect(settings_of(done) == {
        "LD_PRELOAD": LIBRARY, "POOLMALLOC_VERBOSE": "1", "POOLMALLOC_STATS": "json", "POOLMALLOC_PRESET": "lean",
        "POOLMALLOC_STATS_FILE": "/dev/null", "POOLMALLOC_DEPOT_BYTES": "8m",
    }, harness.describe(done))
    done = tool("run", "--quiet", "env", POOLMALLOC_CHECK="off")
    expect_exit(done, 0, "")
    expect(settings_of(done) == {"LD_PRELOAD": LIBRARY, "POOLMALLOC_CHECK": "off"}, harness.describe(done))
    done = tool("run", "--quiet", "echo", "--stats", "--", "--set")
    expect(done.stdout == b"--stats -- --set\n", harness.describe(done))


def preload_is_kept():
    present = next(pathlib.Path("/lib").glob("*/libm.so.6"))
    for before, after in ((str(present), f"{present}:{LIBRARY}"), (f"{present} {LIBRARY}", f"{present} {LIBRARY}")):
        done = harness.run([TOOL, "run", "--quiet", "env"], harness.environment(before))
        expect(settings_of(done)["LD_PRELOAD"] == after, harness.describe(done))


def says_whether_active():
    def said(*arguments):
        done = tool("run", *arguments, POOLMALLOC_VERBOSE="0")
        expect_exit(done, 0)
        return done.stderr.decode()

    line = said("sleep", "0.3")
    expect(line.startswith("poolmalloc: active in sleep (pid ") and line.count("\n") == 1, line)
    with tempfile.TemporaryDirectory() as folder:
        not_a_library = pathlib.Path(folder, "libother.so")
        not_a_library.write_text("no ELF file")
        line = said("--library", str(not_a_library), "sleep", "0.3")
        expect("not active in sleep" in line and "did not take the library" in line, line)
        source = pathlib.Path(folder, "static.c")
        source.write_text("#include <unistd.h>\nint main(void) { sleep(1); return 0; }\n")
        program = pathlib.Path(folder, "static")
        compiler = shutil.which("cc")
        if compiler and subprocess.run([compiler, "-static", source, "-o", program], capture_output=True).returncode == 0:
            line = said(str(program))
            expect("not active in static" in line and "statically linked" in line, line)


def signals():
    ready = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen([TOOL, "run", "--quiet", "sh", "-c", ready], env=harness.environment(),
                               stdout=subprocess.PIPE, process_group=0)
    try:
        expect(process.stdout.readline() == b"ready\n", "the program did not start")
        # A stopped program stops its stand-in, so that a shell sees a stopped job.
        process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        expect(os.WIFSTOPPED(status), f"not stopped: {status}")
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        expect(process.wait(timeout=20) == 9, f"SIGTERM was not relayed: {process.returncode}")
    finally:
        if process.returncode is None:
            process.kill()


def interrupt_from_a_terminal():
    """Ctrl-C reaches the program once: from the terminal, not from its stand-in too."""
    program = ("import signal, time\n"
               "count = []\n"
               "signal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
               "print('ready', flush=True)\n"
               "end = time.monotonic() + 1\n"
               "while time.monotonic() < end: time.sleep(0.05)\n"
               "print(f'interrupts={len(count)}', flush=True)\n")
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execve(TOOL, [TOOL, "run", "--quiet", sys.executable, "-c", program], harness.environment())
    output = b""
    interrupted = False
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 1000)
        except OSError:  # the terminal's other side is closed
            break
        if not piece:
            break
        output += piece
        if b"ready" in output and not interrupted:
            os.write(terminal, b"\x03")
            interrupted = True
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    expect(b"interrupts=1" in output, f"{output!r}")
    expect(os.waitstatus_to_exitcode(status) == 0, f"exit status {status}")


def reference():
    version = tool("--version")
    expect(version.stdout.decode().startswith("poolmalloc "), harness.describe(version))
    help_text = tool("--help").stdout.decode()
    options = tool("options").stdout.decode()
    expect(options not in help_text and "poolmalloc options\n" in help_text, help_text)
    expect("POOLMALLOC_MAGAZINE_BYTES=2m" in options and "lean" in options, options)
    expect("| `POOLMALLOC_CHECK` | `default` | `off`, `default` | at start |" in tool("options", "--markdown").stdout.decode(),
           "no row for POOLMALLOC_CHECK")
    expect("| `committed_bytes` | gauge | bytes |" in tool("metrics", "--markdown").stdout.decode(),
           "no row for committed_bytes")
    for name in ("run", "options", "metrics", "simulate"):
        expect_exit(tool(name, "--help"), 0)


def topology():
    here = tool("topology")
    if here.returncode == 2:
        expect_exit(here, 2, "poolmalloc: this command was built without hwloc\n")
        return
    expect_exit(here, 0, "")
    expect(here.stdout.startswith(b"node ") and b"\nMachine\n" in here.stdout, harness.describe(here))
    two = {"HWLOC_SYNTHETIC": "pack:2 [numa(memory=4GB)] l3:1(size=8MB) core:2 pu:1"}
    text = tool("topology", **two).stdout.decode()
    for line in ("node 0: 3814 MiB, 2 CPUs (0-1)", "node 1: 3814 MiB, 2 CPUs (2-3)", "each of the 2 nodes",
                 "L3 cache: 7812 KiB shared by CPUs 2-3", "    NUMANode P#1 (3814 MiB)"):
        expect(line in text, f"no {line!r} in\n{text}")
    done = tool("topology", "--json", **two)
    machine = json.loads(done.stdout)
    expect(machine["heap_nodes"] == 2 and len(machine["caches"]) == 2, harness.describe(done))
    expect(machine["nodes"][1] == {"node": 1, "memory_bytes": 4_000_000_000, "cpus": "2-3", "distances": [0, 0],
                                   "order": [1, 0]}, harness.describe(done))
    attached = tool("topology", HWLOC_SYNTHETIC="pack:2 [numa(memory=4GB)] [numa(memory=1GB)] core:2 pu:1").stdout
    expect(b"no CPUs: used when the others have no memory left" in attached, attached)
    for variable in ("HWLOC_SYNTHETIC", "HWLOC_XMLFILE"):
        done = tool("topology", **{variable: "/nowhere"})
        expect_exit(done, 1, f"poolmalloc: hwloc cannot read {variable}=/nowhere\n")
        expect(done.stdout == b"", harness.describe(done))
    expect_exit(tool("topology", "--help"), 0)
    expect_exit(tool("topology", "--bogus"), 2)
    expect_exit(tool("topology", "word"), 2)


def test():
    for part in (exit_codes, bad_settings, what_the_program_gets, preload_is_kept, says_whether_active, signals,
                 interrupt_from_a_terminal, reference, topology):
        print(part.__name__, flush=True)
        part()


if __name__ == "__main__":
    harness.main(test)
