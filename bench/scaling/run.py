"""scripts/bench scaling: what allocators cost in count, not in time, as threads become more."""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import allocators
import measure
import report
from scaling.locked import locked_instructions

THREADS = [1, 2, 8, 64, 1000]
SHAPES = [(8, "one object in eight is swapped with another thread"), (0, "each thread frees what it allocated")]
CALLS = {9: "mmap", 10: "mprotect", 11: "munmap", 12: "brk", 24: "sched_yield", 25: "mremap", 28: "madvise",
         202: "futex", 228: "clock_gettime", 230: "clock_nanosleep", 309: "getcpu", 35: "nanosleep", 324: "membarrier",
         204: "sched_getaffinity", 0: "read", 1: "write", 3: "close", 257: "openat"}


def arguments(repository):
    parser = argparse.ArgumentParser(
        prog="bench scaling", description="Counts locked instructions, cache lines that go from CPU to CPU, system "
        "calls and futex waits, each per 1000 operations, for 1 to 1000 threads on two CPUs. Counts, not times: they "
        "hold on a busy machine too, but for those that depend on who is interrupted when (lines, futexes).")
    allocators.add_arguments(parser, repository)
    parser.add_argument("--threads", default=",".join(map(str, THREADS)), metavar="N,...")
    parser.add_argument("--scale", type=float, default=1, metavar="X", help="operations (default: 1, 400,000)")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--smoke", action="store_true", help="does it run at all: few operations, libc and poolmalloc")
    options = parser.parse_args()
    options.threads = [int(number) for number in options.threads.split(",")]
    return options


class Counter:
    """Runs the program under one allocator; disassembles each library once for all."""

    def __init__(self, program, smoke, scale, scratch):
        self._program = program
        self._options = ["--smoke"] if smoke else ["--scale", str(scale)]
        self._scratch = pathlib.Path(scratch)
        self._known = {}

    def run(self, allocator, words):
        # Its worker thread blocks all signals, and so would not survive a breakpoint; with so small a heap it stays
        # away anyhow.
        variables = {"POOLMALLOC_WORKER": "off"} | allocator.environment
        if allocator.library:
            variables["LD_PRELOAD"] = str(allocator.library)
        done = subprocess.run([self._program, *words], capture_output=True, text=True, timeout=900,
                              env=measure.clean_environment() | variables)
        if done.returncode != 0:
            raise measure.Failure(f"status {done.returncode} {done.stderr.strip()[-200:]}")
        return done.stdout

    def list_for(self, allocator):
        """A file that names the locked instructions of all libraries under this allocator."""
        path = self._scratch / allocator.name
        if not path.exists():
            lines = []
            for library in self.run(allocator, ["--libraries"]).splitlines():
                if library not in self._known:
                    self._known[library] = locked_instructions(library)
                lines += [f"library {len(self._known[library])} {library}"] + self._known[library]
            path.write_text("\n".join(lines) + "\n")
        return str(path)

    def count(self, allocator, threads, given):
        words = ["--threads", str(threads), "--given", str(given), *self._options]
        locked = json.loads(self.run(allocator, [self.list_for(allocator), *words]))
        calls = json.loads(self.run(allocator, ["-", *words]))
        kept = ("system_calls", "futex_waits", "futex_wakes")
        return locked | {key: value for key, value in calls.items() if key in kept or key.startswith("call_")}


def most_frequent(numbers):
    """The system calls that are not futex, by name."""
    calls = sorted(((value, int(key[5:])) for key, value in numbers.items()
                    if key.startswith("call_") and key != "call_202" and value >= 0.005), reverse=True)
    return ", ".join(f"{CALLS.get(number, number)} {report.number(value)}" for value, number in calls[:3])


def print_table(rows):
    header = ["", "threads", "locked", "line moves", "lines shared", "system calls", "futex waits", "futex wakes",
              "calls but futex"]
    print(report.table(header, [
        [row["allocator"], row["threads"], report.number(row["locked"], 1), report.number(row["moved"], 1),
         f"{row['lines_by_cpus']:.0f} of {row['lines']:.0f}", report.number(row["system_calls"]),
         report.number(row["futex_waits"]), report.number(row["futex_wakes"]), most_frequent(row)]
        for row in rows if "failure" not in row]))
    for row in rows:
        if "failure" in row:
            print(f"  {row['allocator']} with {row['threads']} threads: FAILED: {row['failure']}")


def main(repository):
    options = arguments(repository)
    program = options.build_dir.resolve() / "bench/bench-scaling"
    if not program.exists():
        allocators.stop(f"{program} is not built: scripts/build-flavour release (x86-64 only)")
    chosen = allocators.choose_allocators(options)
    results = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="poolmalloc-bench-") as scratch:
        counter = Counter(program, options.smoke, options.scale, scratch)
        for given, shape in SHAPES:
            rows = []
            for threads in options.threads:
                for allocator in chosen:
                    row = {"allocator": allocator.name, "threads": threads, "given": given}
                    try:
                        row |= counter.count(allocator, threads, given)
                        # libc locks its arenas as soon as there are threads: seeing none is not counting.
                        if options.smoke and allocator.name == "libc" and row["locked"] == 0:
                            raise measure.Failure("no locked instruction was seen")
                    except (measure.Failure, subprocess.TimeoutExpired) as failure:
                        row["failure"] = str(failure)
                        failed |= options.smoke or allocator.name == "poolmalloc"
                    rows.append(row)
            print(f"per 1000 operations, two CPUs of {os.cpu_count()}: {shape}")
            print_table(rows)
            print(flush=True)
            results += rows
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return 1 if failed else 0
