"""scripts/bench micro: single functions of the library, in nanoseconds, ticks and instructions."""

import argparse
import json
import pathlib
import re
import subprocess

import allocators
import measure
import report

LOOP = "the loop alone"


def arguments(repository):
    parser = argparse.ArgumentParser(
        prog="bench micro", description="Measures single functions: the smallest time of a few repetitions, ticks of the "
        "processor's counter, and instructions, counted one by one. The instructions of the loop around are subtracted; "
        "they are the same on any machine, however busy.")
    parser.add_argument("--build-dir", type=pathlib.Path, default=repository / "build/release", metavar="DIR")
    parser.add_argument("--only", metavar="REGEX", help="only the functions that match")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--smoke", action="store_true", help="does it run at all")
    return parser.parse_args()


def run(program, mode, words):
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False,
                          env=measure.clean_environment() | {"POOLMALLOC_MAGAZINE": mode})
    if done.returncode != 0:
        allocators.stop(f"bench-micro failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def times(program, mode, options):
    """name -> (ns, ticks), the smallest of the repetitions: what disturbs can only add."""
    words = ["--benchmark_format=json", f"--benchmark_repetitions={1 if options.smoke else options.repetitions}",
             f"--benchmark_min_time={0.001 if options.smoke else 0.1}"]
    found = {}
    for one in json.loads(run(program, mode, words))["benchmarks"]:
        if one["run_type"] == "iteration":
            now = (one["cpu_time"] / one["parts"], one["ticks"])
            found[one["run_name"]] = min(found.get(one["run_name"], now), now)
    return found


def instructions(program, mode, options):
    text = run(program, mode, ["--instructions", "2" if options.smoke else "20"])
    return {one["name"]: one["instructions"] for one in map(json.loads, text.splitlines())
}

def main(repository):
    options = arguments(repository)
    program = options.build_dir.resolve() / "bench/bench-micro"
    if not program.exists():
        allocators.stop(f"{program} is not built: it needs libbenchmark-dev (scripts/setup build) and x86-64")
    rows = {}
    for mode in ("auto", "locked"):
        measured, counted = times(program, mode, options), instructions(program, mode, options)
        if measured.keys() != counted.keys():
            allocators.stop(f"measured {sorted(measured)}, counted {sorted(counted)}")
        for name, (ns, ticks) in measured.items():
#What works in both modes is measured in the first.
            rows.setdefault(name, {"name": name, "ns": ns, "ticks": ticks, "instructions": counted[name]})
    for row in rows.values():
        if row["name"] != LOOP:
            row["instructions"] -= rows[LOOP]["instructions"] if "pair of" not in row["name"] else 0
    shown = [row for row in rows.values() if not options.only or re.search(options.only, row["name"])]
    if not shown:
        allocators.stop(f"--only {options.only}: no function matches")
    print(report.table(["", "ns", "ticks", "instructions"],
                       [[row["name"], report.number(row["ns"], 1), report.number(row["ticks"], 1),
                         report.number(row["instructions"], 1)] for row in shown]))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    return 0
