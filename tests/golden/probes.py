"""The library's notes name its static probes, and nothing but a nop is where they are: probes.py LIBRARY."""

import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

LIBRARY = sys.argv[1]
NAMES = {"decommit", "drain", "prefault", "collapse", "level", "trim", "limit"}


def output(*command):
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test():
    notes = output("readelf", "-n", LIBRARY)
    found = re.findall(r"Provider: poolmalloc\s+Name: (\w+)\s+Location: 0x0*([0-9a-f]+).*?\n\s+Arguments: (.*)", notes)
    expect({name for name, _, _ in found} == NAMES, f"probes {sorted({name for name, _, _ in found})}")
    code = output("objdump", "-d", "--no-show-raw-insn", LIBRARY)
    for name, place, arguments in found:
        expect(len(arguments.split()) == 2, f"{name} has the arguments {arguments}")
        line = re.search(rf"^\s*{place}:\s*(\S+)", code, re.MULTILINE)
        expect(line is not None and line[1] == "nop", f"at {name} is {line and line[0]}")


if __name__ == "__main__":
    harness.main(test)
