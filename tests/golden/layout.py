"""Where the library's parts lie, so that a small process touches few pages of them: preload/layout.ld.

A pattern there that names no object file any more would go unnoticed otherwise, and so would a function that every
process calls and that lies behind: small programs run with the pages behind taken away.

Usage: layout.py LIBRARY GUARD
"""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

# Functions of files that stand behind, and such as stand in front wherever they are written.
BEHIND = ("pm13parse_optionsE", "pm10TextWriter5bytesE", "pm10Forecaster3addE", "pm8FileHeap6createE",
          "pm13report_insideE", "pm6Engine5roundE", "pm13page_collapseE", "pm13page_prefaultE", "pm10HugeAdvice3askE",
          "pm13MappingBudget4takeE", "pm2os9read_numaE", "pm16collect_pressureE")
FRONT = ("malloc", "free", "_Znwm", "pm6Region4growE", "pm13slab_allocateE", "pm15magazine_refillE", "pm10start_heapE",
         "pm14start_pressureE", "pm10HugeAdvice6adviseE", "pm7Hugetlb3mapE", "pm14report_at_exitE",
         "pm20load_topology_if_dueE", "pm8FileHeap2ofE")
MOST_FRONT = 128 * 1024  # bytes: code and constants of a small process
MOST_DATA = 16 * 1024  # bytes: initialised variables, which come from the file
PAGE = 4096
SMALL_PROGRAMS = (["true"], ["sort", "/proc/self/limits"], ["sh", "-c", "echo a; (echo b)"])


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    library, guard = map(os.path.realpath, sys.argv[1:])
    mappings = re.findall(r"^\s*LOAD\s", output("readelf", "-lW", library), re.MULTILINE)
    harness.expect(len(mappings) == 2, f"{len(mappings)} mappings of the file: each costs every process its own")
    sections = {name: (int(address, 16), int(size, 16)) for name, address, size in re.findall(
        r"\]\s+(\.\S+)\s+\S+\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", output("readelf", "-SW", library))}
    rare = sections[".text.rare"][0]
    front_end = sections[".rodata"][0] + sections[".rodata"][1]
    harness.expect(front_end < rare and front_end <= MOST_FRONT,
                   f"what a small process touches ends at {front_end:#x}, what is rare begins at {rare:#x}")
    harness.expect(sections[".data"][1] <= MOST_DATA, f".data has {sections['.data'][1]} bytes")
    symbols = [(int(address, 16), name) for address, kind, name in re.findall(
        r"^([0-9a-f]+) ([tTW]) (\S+)$", output("nm", library), re.MULTILINE)]
    started = [name for _, name in symbols if name.startswith("_GLOBAL__sub_I_")]
    harness.expect(not started, f"{started}: variables that code initialises, in every process")
    for wanted, is_behind in [(name, True) for name in BEHIND] + [(name, False) for name in FRONT]:
        found = [(address, name) for address, name in symbols if name == wanted or (wanted[:2] == "pm" and wanted in name)]
        harness.expect(found, f"no function {wanted}: this list is out of date")
        for address, name in found:
            if ".cold" in name or ".part" in name:
                continue
            harness.expect((address >= rare) == is_behind, f"{name} lies {'in front' if is_behind else 'behind'}")
    first = -(-rare // PAGE) * PAGE
    end = sum(sections[".rodata.rare"]) // PAGE * PAGE
    for program in SMALL_PROGRAMS:
        done = harness.run(program, harness.environment(f"{library} {guard}", GUARD=f"{library} {first:x} {end:x}"))
        touched = re.search(rb"touched ([0-9a-f]+)", done.stderr)
        at = touched and max((s for s in symbols if s[0] <= int(touched[1], 16)), default=(0, "?"))[1]
        harness.expect(done.returncode == 0, f"{at} lies behind and is used\n{harness.describe(done)}")


if __name__ == "__main__":
    harness.main(main)
