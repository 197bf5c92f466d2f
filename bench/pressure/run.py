"""Runs one scenario under one allocator, in a box if it has a limit, and collects what the programs wrote down."""

import contextlib
import json
import pathlib
import signal
import struct
import subprocess
import tempfile
import time

from cgroup import Box
from measure import Failure, clean_environment, last_line

SAMPLE = struct.Struct("5d")  # struct Sample of record.h: seconds, resident, live, level, seconds to limit
SUMS = ("minor_faults", "user", "system", "mallocs", "refused")
WORST = ("malloc_p50_ns", "malloc_p99_ns", "malloc_p99.9_ns", "touch_p50_ns", "touch_p99_ns", "touch_p99.9_ns")
OWN = ("hit_percent", "callbacks", "dropped_mb", "worker_percent")  # what only some report; the last is of a core
HIGH = 2  # PM_PRESSURE_HIGH
START_DELAY = 0.3  # until all processes of a scenario are ready
STEP = 0.05  # seconds between two points of a chart


def warm_up(programs, megabytes):
    """The host may have taken free memory back: have it given again, so that the first allocator does not pay for all."""
    subprocess.run([programs / "bench-demand", "--shape", "steady", "--high", str(round(megabytes)), "--seconds", "0.1", "--units", "1"],
                   check=True, stdout=subprocess.DEVNULL, env=clean_environment())


def samples_of(path):
    if not path.exists():
        return []
    data = path.read_bytes()
    data = data[:len(data) - len(data) % SAMPLE.size]
    found = []
    for sample in SAMPLE.iter_unpack(data):
        if sample[0] == 0:
            break
        found.append(sample)
    return found


def together(series, end):
    """The sums of several processes' samples every STEP seconds: (resident, live), each process's latest value before."""
    resident, live = [], []
    places = [0] * len(series)
    for step in range(int(end / STEP) + 1):
        now = step * STEP
        sums = [0.0, 0.0]
        for i, samples in enumerate(series):
            while places[i] + 1 < len(samples) and samples[places[i] + 1][0] <= now:
                places[i] += 1
            if samples and samples[places[i]][0] <= now:
                sums[0] += samples[places[i]][1]
                sums[1] += samples[places[i]][2]
        resident.append(sums[0])
        live.append(sums[1])
    return resident, live


def integral(samples, column):
    return sum((b[column] + a[column]) / 2 * (b[0] - a[0]) for a, b in zip(samples, samples[1:]))


def warned_at(samples):
    """Since when the allocator's own word was that pressure is high, without taking it back; None if it never was."""
    since = None
    for seconds, _, _, level, _ in samples:
        if level < HIGH:
            since = None
        elif since is None:
            since = seconds
    return since


class Run:
    """One run in progress: its processes, and the files they write."""

    def __init__(self, scenario, allocator, programs, folder, box):
        self._scenario = scenario
        self._folder = folder
        self._processes = []
        environment = clean_environment() | allocator.environment
        if allocator.library:
            environment["LD_PRELOAD"] = str(allocator.library)
        start = time.clock_gettime(time.CLOCK_MONOTONIC) + START_DELAY
        self.start = time.monotonic() + START_DELAY
        launch = box.start if box else subprocess.Popen
        for i, player in enumerate(scenario.players):
            extra = {"start": f"{start:.6f}"}
            if player.measured:
                extra["samples"] = folder / f"samples-{i}"
                if scenario.budget:
                    extra |= {"budget": scenario.budget / 1e6, "budget-file": folder / "budget"}
            else:
                extra["file"] = folder / "cached"
            with open(folder / f"output-{i}", "wb") as output, open(folder / f"errors-{i}", "wb") as errors:
                self._processes.append(launch(player.command(programs, extra), cwd=folder, env=environment,
                                              stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                              start_new_session=True))

    def wait(self, box):
        """Seconds after which the kernel killed one of them, or None once all have ended."""
        deadline = self.start + self._scenario.seconds + 60
        while True:
            running = any(process.poll() is None for process in self._processes)
            killed = [process for process in self._processes if process.returncode == -signal.SIGKILL]
            if killed or (box and box.kills() > 0):
                return max(0.0, time.monotonic() - self.start)
            if not running:
                return None
            if time.monotonic() > deadline:
                raise Failure(f"not done {60} s after its end")
            time.sleep(0.02)

    def end(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def results(self, killed):
        """The JSON of each measured program, None for those that were killed or ended with them."""
        found = []
        for i, (player, process) in enumerate(zip(self._scenario.players, self._processes)):
            complaint = (self._folder / f"errors-{i}").read_text(errors="replace").strip()
            if "cannot be preloaded" in complaint:
                raise Failure(complaint.splitlines()[0])
            if process.returncode != 0 and killed is None:
                what = f"signal {-process.returncode}" if process.returncode < 0 else f"exit status {process.returncode}"
                raise Failure(last_line(f"{player.program}: {what}", complaint))
            if player.measured:
                found.append(json.loads((self._folder / f"output-{i}").read_text()) if process.returncode == 0 else None)
        return found

    def samples(self):
        return [samples_of(self._folder / f"samples-{i}")
                for i, player in enumerate(self._scenario.players) if player.measured]


def measure(scenario, allocator, programs):
    """One run. Raises Failure if it did not do what it should, NoBox if it needs a limit and none can be set."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poolmalloc-pressure-")))
        box = stack.enter_context(Box(scenario.limit)) if scenario.limit else None
        run = Run(scenario, allocator, programs, folder, box)
        try:
            killed = run.wait(box)
        finally:
            run.end()
        results = run.results(killed)
        samples = run.samples()
        facts = {"box_peak_bytes": box.peak(), "limit_met": box.met()} if box else {}
    end = min(scenario.seconds, killed) if killed is not None else scenario.seconds
    resident, live = ([round(value) for value in values] for values in together(samples, end))
    if killed is None and not all(series and series[-1][0] > 0.9 * scenario.seconds for series in samples):
        raise Failure("a program wrote down no samples, or stopped before its end")
    found = facts | {
        "killed_at": killed, "peak_bytes": max(resident, default=0), "resident": resident, "live": live,
        "live_at_end": sum(series[-1][2] for series in samples if series),
        "live_peak": max(live, default=0),
        "rss_per_live": sum(integral(series, 1) for series in samples) / max(1.0, sum(integral(series, 2) for series in samples)),
    }
    if killed is not None and len(samples) == 1 and (warned := warned_at(samples[0])) is not None:
        found["lead"] = max(0.0, killed - warned)
    if killed is None:
        found["own"] = {key: sum(result[key] for result in results) for key in OWN if key in results[0]}
        found |= {key: sum(result[key] for result in results) for key in SUMS}
        found |= {key: max(result[key] for result in results) for key in WORST}
        found |= {key: sum(result[key] for result in results) / len(results) for key in ("unit_us", "units_per_second")}
    return found
