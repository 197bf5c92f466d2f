"""Heap profiles of programs whose allocations are known: runner.py CASE LIBRARY PROGRAM [MORE...]."""

import collections
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

Site = collections.namedtuple("Site", "size allocated live peak temporary ages stack")
Profile = collections.namedtuple("Profile", "period dropped mappings sites pid executable")


def read_profile(path):
    """A dump, taken apart by its grammar (src/profile/dump.h); anything else is a failure."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
    expect(lines[0] == "poolmalloc-profile 1" and lines[-1] == "", f"{path}: not a profile, or cut off")
    header = {}
    mappings, sites = [], []
    for line in lines[1:-2]:
        word, _, rest = line.partition(" ")
        if word == "mapping":
            start, end, offset, build_id, state, name = rest.split(" ", 5)
            expect(state in ("here", "gone"), line)
            mappings.append((int(start, 16), int(end, 16), int(offset, 16), build_id, state, name))
        elif word == "site":
            fields = rest.split(" ")
            expect(fields[6] == "age" and fields[15] == "stack" and int(fields[0]) == len(sites), line)
            numbers = [int(field) for field in fields[1:6]]
            ages = [int(field) for field in fields[7:15]]
            site = Site(*numbers, ages, [int(pc, 16) for pc in fields[16:]])
            expect(sum(ages) == site.live and max(site.live, site.peak, site.temporary) <= site.allocated, line)
            sites.append(site)
        else:
            expect(word in ("process", "taken", "started", "period", "dropped") and not sites, line)
            header[word] = rest
    expect(lines[-2] == f"end {len(sites)}", f"{path}: ends with {lines[-2]}")
    pid, _, executable = header["process"].split(" ", 2)
    return Profile(int(header["period"]), int(header["dropped"]), mappings, sites, int(pid), executable)


def functions_of(program):
    """Name -> range of addresses in the file."""
    ranges = {}
    for line in subprocess.run(["nm", "-S", "--defined-only", program], check=True, capture_output=True, text=True).stdout.splitlines():
        found = re.fullmatch(r"([0-9a-f]+) ([0-9a-f]+) [tT] (\w+)", line)
        if found:
            start = int(found[1], 16)
            ranges[found[3]] = (start, start + int(found[2], 16))
    return ranges


def sums_by_function(profile, program, names):
    """Name -> sum of the sites whose stack leads through the function."""
    program = os.path.realpath(program)
    code = [m for m in profile.mappings if m[5] == program]
    expect(len(code) == 1, f"the program's code should be one mapping: {code}")
    base = code[0][0] - code[0][2]
    functions = functions_of(program)
    sums = {name: [0, 0, 0] for name in names}
    for site in profile.sites:
        for name in names:
            start, end = functions[name]
            if any(start < pc - base <= end for pc in site.stack):
                sums[name][0] += site.allocated
                sums[name][1] += site.live
                sums[name][2] += site.size * site.allocated
    return sums


def close(measured, expected, chance, what):
    """A binomial count within five standard deviations."""
    mean = expected * chance
    allowed = 5 * math.sqrt(expected * chance * (1 - chance)) + 0.5
    expect(abs(measured - mean) <= allowed, f"{what}: {measured} samples, expected {mean:.1f} +- {allowed:.1f}")


def run_known(library, program, period, objects, folder, **options):
    path = os.path.join(folder, "profile")
    done = harness.run([program, str(objects), path], harness.environment(library, POOLMALLOC_PROFILE=period, **options))
    expect(done.returncode == 0 and not done.stderr, harness.describe(done))
    lines = done.stdout.decode().splitlines()
    expect("counters ok" in lines, harness.describe(done))
    rows = [line.split() for line in lines if line.startswith("site_")]
    return read_profile(path), {name: tuple(map(int, rest)) for name, *rest in rows}


MODES = ({}, {"POOLMALLOC_MAGAZINE": "locked"}, {"POOLMALLOC_CPU_INDEX": "mm_cid"})


def unbiased(library, program):
    """Each site's samples, of small and large objects made in every way, are as many as its bytes say."""
    for options in MODES:
        for period, objects in ((65536, 40000), (4096, 8000)):
            with tempfile.TemporaryDirectory() as folder:
                profile, rows = run_known(library, program, period, objects, folder, **options)
                expect(profile.period == period and profile.dropped == 0, f"dropped {profile.dropped}")
                sums = sums_by_function(profile, program, rows)
                for name, (size, allocated, live) in rows.items():
                    chance = 1 - math.exp(-size / period)
                    close(sums[name][0], allocated, chance, f"{name} {options} allocated")
                    close(sums[name][1], live, chance, f"{name} {options} live")


def exact(library, program):
    """With a period of 1 each allocation is there, and each free is seen."""
    for options in MODES:
        with tempfile.TemporaryDirectory() as folder:
            profile, rows = run_known(library, program, 1, 2000, folder, **options)
            expect(profile.dropped == 0, f"dropped {profile.dropped}")
            sums = sums_by_function(profile, program, rows)
            for name, (size, allocated, live) in rows.items():
                expect(sums[name] == [allocated, live, size * allocated], f"{name} {options}: {sums[name]} of {rows[name]}")


def at_exit(library, program):
    """The file at exit has the process's number; the leaks name the code; a full disk leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        done = harness.run([program], harness.environment(library, POOLMALLOC_PROFILE=1, POOLMALLOC_PROFILE_LEAKS=1,
                                                          POOLMALLOC_PROFILE_FILE=f"{folder}/p.%p"))
        expect(done.returncode == 0, harness.describe(done))
        files = os.listdir(folder)
        expect(len(files) == 1, f"files: {files}")
        profile = read_profile(os.path.join(folder, files[0]))
        expect(files[0] == f"p.{profile.pid}" and profile.executable == os.path.realpath(program), f"{profile[4:]}")
        leaked = [site for site in profile.sites if site.live == 1000]
        expect(len(leaked) == 1 and leaked[0].size == 112, f"sites: {profile.sites}")
        report = done.stderr.decode()
        expect("call site" in report.splitlines()[0] and "in 1000 samples" in report and " leak+0x" in report, report)
        # The library that was unloaded.
        gone = [m for m in profile.mappings if m[4] == "gone" and m[5].endswith("profile_plugin.so")]
        expect(len(gone) == 1 and re.fullmatch("[0-9a-f]{16,}", gone[0][3]), f"mappings: {profile.mappings}")
        freed = [s for s in profile.sites if any(gone[0][0] <= pc < gone[0][1] for pc in s.stack)]
        counts = sorted((site.size, site.allocated, site.temporary) for site in freed)
        expect(counts == [(320, 10, 10), (5120, 1, 1)], f"sites of the plugin: {freed}")
    done = harness.run([program], harness.environment(library, POOLMALLOC_PROFILE=1, POOLMALLOC_PROFILE_FILE="/dev/full"))
    expect(done.returncode == 0 and b"cannot write the heap profile" in done.stderr, harness.describe(done))
    if os.geteuid() == 0:
        expect(os.path.exists("/dev/full"), "the device was removed")


def off(library, program):
    """Without the option nothing is there: no table, no line, no file."""
    done = harness.run([program], harness.environment(library, POOLMALLOC_PROFILE_LEAKS=1, POOLMALLOC_STATS="json"))
    expect(done.returncode == 0 and b'"profile_metadata_bytes": 0' in done.stderr.replace(b'":0', b'": 0'), harness.describe(done))


def restarts(library, program):
    """Started and stopped a hundred times under load, with the counts of allocations exact in the end."""
    for options in MODES:
        done = harness.run([program, "100"], harness.environment(library, **options))
        expect(done.returncode == 0 and done.stdout.decode().endswith("exact\n"), harness.describe(done))


def soak(library, program, plugin):
    """Threads, loaded libraries, forks, exceptions and signals under a short period."""
    for options in ({}, {"POOLMALLOC_MAGAZINE": "locked"}):
        done = harness.run([program, plugin, "8"], harness.environment(library, POOLMALLOC_PROFILE=4096, **options))
        expect(done.returncode == 0, harness.describe(done))


def test():
    case, library, program, *more = sys.argv[1:]
    globals()[case](os.path.abspath(library), os.path.abspath(program), *more)


harness.main(test)
