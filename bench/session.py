"""What scripts/bench and scripts/pressure do around their runs: build, choose, show progress, name the machine."""

import fnmatch
import os
import pathlib
import platform
import subprocess
import sys
import time

from allocators import note, stop


def build(repository, with_packages):
    """The release flavour, with the project's own scripts."""
    if with_packages:
        subprocess.run([repository / "scripts/setup", "build"], check=True, stdout=sys.stderr)
    subprocess.run([repository / "scripts/build-flavour", "release"], check=True, stdout=sys.stderr)


def named(everything, only, kind):
    """Those whose name, or group/name, matches one of the patterns, separated by commas; all without any."""
    patterns = only.split(",") if only else ["*"]
    chosen = [one for one in everything if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns
                                               for name in (one.name, f"{one.group}/{one.name}"))]
    if not chosen:
        stop(f"--only {only}: no {kind} has such a name; see --list")
    return chosen


def machine():
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{len(os.sched_getaffinity(0))} CPUs ({model}), Linux {platform.release()}, {' '.join(platform.libc_ver())}"


class Progress:
    """Says on stderr how far we are and how long it will still take, once that is longer than two seconds."""

    def __init__(self, total):
        self._total = total
        self._done = 0
        self._start = self._last = time.monotonic()
        self._spent = {}  # job -> seconds of each run
        self._left = {}
        self._terminal = sys.stderr.isatty()

    def plan(self, job, runs):
        self._left[job] = runs

    def drop(self, job):
        self._total -= self._left.pop(job, 0)

    def finished(self, job, seconds):
        self._done += 1
        self._left[job] -= 1
        self._spent.setdefault(job, []).append(seconds)

    def show(self, what):
        now = time.monotonic()
        if now - self._start < 2 or (not self._terminal and now - self._last < 15):
            return
        self._last = now
        line = f"[{self._done + 1}/{self._total}] {what}, {self._time_left()}"
        if self._terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            note(line)

    def clear(self):
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _time_left(self):
        known = {job: sum(spent) / len(spent) for job, spent in self._spent.items()}
        typical = sum(known.values()) / len(known) if known else 0
        seconds = sum(known.get(job, typical) * runs for job, runs in self._left.items())
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
