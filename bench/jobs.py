"""What can be measured: a job says how to run one program; here is the base class, and the workloads of our own."""

import json
import pathlib
import shutil
import subprocess

BENCH = pathlib.Path(__file__).resolve().parent


class Job:
    name = ""
    question = ""
    group = ""
    packages = {}  # executable -> Debian package
    environment = {}
    tree = False  # the work is done by descendants: their memory counts too
    compare_output = True  # stdout must be the same under every allocator

    def missing(self):
        return [package for executable, package in self.packages.items() if shutil.which(executable) is None]

    def built_in(self):
        """The allocator this program is linked with, if that is not libc's."""
        return None

    def prepare(self, folder, scale):
        """Writes the input, the same for the same scale, into an empty folder that is then the working directory."""

    def command(self):
        raise NotImplementedError

    def drive(self, folder, running):
        """For servers: puts load on the running program and ends it. `running()` is false once it has died."""

    def numbers(self, output):
        """What the program says about itself, to be shown beside what was measured."""
        return {}


class OwnWorkload(Job):
    group = "own"
    compare_output = False

    def __init__(self, name, words, question, programs, options):
        self.name = name
        self.question = question
        self._command = [str(programs / f"bench-{words[0]}"), *words[1:], *options]

    def command(self):
        return self._command

    def numbers(self, output):
        numbers = json.loads(output)
        skip = {"workload", "smoke", "seed", "scale"}
        return {key: value for key, value in numbers.items() if key not in skip}


class TimedWorkload(OwnWorkload):
    """The same program with each call to the allocator timed, alone or while another thread makes it trim."""
    group = "timed"

    def __init__(self, name, words, question, programs, options, trim):
        words = words if words[0] == "latency" else [f"timed-{words[0]}", *words[1:]]
        super().__init__(f"{name}, trimmed" if trim else name, words, question, programs, options)
        if trim:
            self.environment = {"BENCH_TRIM": "1"}

    def numbers(self, output):
        numbers = json.loads(output.splitlines()[-1])
        return {key: value for key, value in numbers.items() if key.endswith("_ns") or key == "trims"}


def own_workloads(programs, options, timed=False):
    jobs = []
    for line in (BENCH / "workloads.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, command, question = (column.strip() for column in line.split("|"))
            words = command.split()
            if not timed:
                jobs.append(OwnWorkload(name, words, question, programs, options))
                continue
            jobs.append(TimedWorkload(name, words, question, programs, options, trim=False))
            if words[0] != "latency":
                jobs.append(TimedWorkload(name, words, question, programs, options, trim=True))
    return jobs


def linked_allocator(executable):
    """The name of a well-known allocator among the libraries an executable is linked with, or None."""
    path = shutil.which(executable)
    if path is None:
        return None
    libraries = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return next((name for name in ("jemalloc", "tcmalloc", "mimalloc") if f"lib{name}" in libraries), None)
