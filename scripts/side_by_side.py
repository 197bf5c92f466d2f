#!/usr/bin/env python3
"""Runs unmodified programs with and without libpoolmalloc.so in turn, and prints both sides and the statistics.

Usage: scripts/side_by_side.py --build build/release [--runs N]
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

# Builds tables of small objects of many sizes and drops them in another order: what a service in Python does all day.
# PYTHONMALLOC=malloc makes Python ask malloc for each object, instead of cutting them from arenas of its own.
PYTHON_JOB = """
import random
random.seed(7)
def table(size):
    return {i: [str(i) * (i % 7 + 1), (i, i + 1), {"key": i}, bytes(i % 400)] for i in range(size)}
kept = []
for _ in range(24):
    kept.append(table(random.randrange(10_000, 60_000)))
    if len(kept) > 4:
        kept.pop(random.randrange(len(kept)))
"""

REDIS_LOAD = ["-q", "-n", "100000", "-r", "100000", "-d", "200", "-P", "16", "-t", "set,get,lpush,lpop,sadd,hset,zadd"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def finish(process, began):
    """Waits for the process: (seconds, peak bytes, minor faults)."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{process.args[0]} ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_maxrss * 1024, usage.ru_minflt


def run_python(environment, prefix=()):
    """One run of the Python job under `prefix`; a list of its three numbers."""
    began = time.monotonic()
    process = subprocess.Popen([*prefix, sys.executable, "-c", PYTHON_JOB], env=environment | {"PYTHONMALLOC": "malloc"})
    return finish(process, began)


def run_redis(environment, prefix=()):
    """One redis-server under redis-benchmark. The time is the benchmark's, memory and faults are the server's."""
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "redis.sock")
        with open(os.path.join(folder, "log"), "w", encoding="utf-8") as log:
            server = subprocess.Popen(
                [*prefix, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
                env=environment,
                stdout=log,
            )
            try:
                deadline = time.monotonic() + 20
                while not os.path.exists(socket):
                    if server.poll() is not None or time.monotonic() > deadline:
                        sys.exit("redis-server did not start")
                    time.sleep(0.01)
                began = time.monotonic()
                subprocess.run(["redis-benchmark", "-s", socket, *REDIS_LOAD], check=True, stdout=subprocess.DEVNULL)
                seconds = time.monotonic() - began
                subprocess.run(["redis-cli", "-s", socket, "shutdown", "nosave"], check=True, stdout=subprocess.DEVNULL)
                _, peak, faults = finish(server, began)
            finally:
                if server.returncode is None:
                    server.terminate()
                    server.wait()
    return seconds, peak, faults


def own_allocator(program):
    """The allocator library a program is linked with, if it is one."""
    libraries = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for name in ("jemalloc", "tcmalloc", "mimalloc"):
        if name in libraries:
            return name
    return "glibc"


def row(label, values, show):
    """One line of the table: the medians of both sides and how far the second is from the first."""
    without, with_library = (statistics.median(side) for side in values)
    change = (with_library / without - 1) * 100 if without else 0
    print(f"  {label:<14}{show(without):>16}{show(with_library):>16}{change:>+11.0f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    library = (arguments.build / "preload/libpoolmalloc.so").resolve()
    tool = (arguments.build / "preload/launcher/poolmalloc").resolve()
    for path in (library, tool):
        if not path.exists():
            sys.exit(f"{path} is missing: build first")

    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LD_PRELOAD", "POOLMALLOC_"))}
    preloaded = plain | {"LD_PRELOAD": str(library)}
    programs = [("a Python job, every object by malloc", sys.executable, run_python)]
    if all(shutil.which(name) for name in ("redis-server", "redis-benchmark", "redis-cli")):
        programs.append(("redis-server under redis-benchmark", shutil.which("redis-server"), run_redis))
    else:
        say("redis is not installed: only the Python job runs")

    results = []
    for name, path, run in programs:
        sides = ([], [])
        for turn in range(arguments.runs):
            # In turn, so that whatever else the machine does meets both sides.
            for side, environment in enumerate((plain, preloaded)):
                numbers = run(environment)
                sides[side].append(numbers)
                with_or_without = ("without", "with")[side]
                say(f"  {name}, {with_or_without}, run {turn + 1} of {arguments.runs}: {numbers[0]:.2f} s")
        results.append((name, own_allocator(path), sides))

    print(f"\nMedians of {arguments.runs} runs in turn on {os.cpu_count()} CPUs:")
    for name, allocator, sides in results:
        print(f"\n{name}\n  {'':<14}{allocator:>16}{'poolmalloc':>16}")
        values = [[[numbers[i] for numbers in side] for side in sides] for i in range(3)]
        row("time", values[0], lambda seconds: f"{seconds:.2f} s")
        row("peak memory", values[1], lambda size: f"{size / (1 << 20):.1f} MiB")
        row("minor faults", values[2], lambda count: f"{count:,.0f}")

    print(f"\nThe library's own statistics after one more run of {programs[-1][0]}:\n", flush=True)
    programs[-1][2](plain, [str(tool), "run", "--stats", "--"])


if __name__ == "__main__":
    main()
