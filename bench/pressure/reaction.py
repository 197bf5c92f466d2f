#!/usr/bin/env python3
"""How soon poolmalloc tells of pressure and gives memory back, against the project's bars, with PASS or MISS for each.

Makes memory groups and needs the right to: without it, only what needs none is run, and the exit code is 77.

Usage: bench/pressure/reaction.py [--build-dir DIR] [--runs N] [--smoke]
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(REPOSITORY / "bench"))

from allocators import find_library  # noqa: E402
from cgroup import Box, NoBox  # noqa: E402
from measure import clean_environment  # noqa: E402

MB = 1_000_000
LIMIT = 400
SKIPPED = 77


def run(program, library, box=None, settings=None, **options):
    command = [str(program)] + [word for name, value in options.items() for word in (f"--{name}", str(value))]
    if box:
        file = "memory.usage_in_bytes" if box.version == 1 else "memory.current"
        command += ["--limit", str(LIMIT), "--usage", str(box.directory / file)]
    environment = clean_environment() | {"LD_PRELOAD": str(library)} | (settings or {})
    launch = box.start if box else subprocess.Popen
    process = launch(command, env=environment, stdout=subprocess.PIPE)
    output = process.communicate()[0]
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: {process.returncode}")
    return json.loads(output)


def bar(name, values, good, unit, text):
    verdict = "PASS" if all(good(value) for value in values) else "MISS"
    shown = f"median {statistics.median(values):.0f} {unit}, from {min(values):.0f} to {max(values):.0f}"
    print(f"{verdict}  {name}: {shown}; the bar: {text}", flush=True)
    return verdict == "PASS"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build-dir", type=pathlib.Path, default=REPOSITORY / "build/release")
    parser.add_argument("--library", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--smoke", action="store_true", help="one run of each; does it work?")
    options = parser.parse_args()
    library = (options.library or find_library(options.build_dir)).resolve()
    program = options.build_dir.resolve() / "bench/bench-reaction"
    runs = 1 if options.smoke else options.runs

    def boxed(**what):
        found = []
        for _ in range(runs):
            with Box(LIMIT * MB) as box:
                found.append(run(program, library, box, **what))
        return found

    lacks = None
    try:
        with Box(64 * MB):
            pass
    except NoBox as reason:
        lacks = str(reason)
    if lacks is None:
        rates = ((100, "growth that was foreseen"), (2000, "a jump"))
        for rate, how in rates[1:] if options.smoke else rates:
            found = boxed(what="levels", rate=rate)
            bar(f"told of a level after usage was there, {how}", [one["told_ms"] for one in found], lambda ms: ms <= 200,
                "ms (negative: before)", "100 ms after the sample that shows it, and there is one each 100 ms")
            bar(f"told of a level after the look that showed it, {how}", [one["after_look_ms"] for one in found], lambda ms: ms <= 100,
                "ms (negative: before its end)", "100 ms")
        # Nothing goes back before, by the price or by growth: all of it is there for the emergency.
        found = boxed(what="emergency", heap=120,
                      settings={"POOLMALLOC_MEMORY_PRICE": "0", "POOLMALLOC_DIRTY_BYTES": "1t"})
        bar("back a second after an emergency", [one["back_percent"] for one in found], lambda percent: percent >= 80,
            f"% of {found[0]['reclaimable_mb']:.0f} MB", "80 %")
        print("      80 % were back after (ms; -1: not within a second) " + ", ".join(f"{one['back_80_ms']:.0f}" for one in found))
    size = {"heap": 40, "live": 10} if options.smoke else {}
    found = [run(program, library, what="idle", **size) for _ in range(min(runs, 3))]
    bar("an idle process with a GiB of free heap is within a tenth of what is live",
        [one["idle_seconds"] if one["idle_seconds"] >= 0 else 999 for one in found], lambda seconds: seconds <= 30, "s", "30 s")
    if lacks is not None:
        print(f"not timed, for want of a memory group: levels and emergency ({lacks})")
        return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
