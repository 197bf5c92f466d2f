"""Runs a real program with the library and without, and compares all it says and leaves.

Usage: runner.py CASE LIBRARY --full|--short

Compared are the output, the exit codes and the files of the full case, and once more of its short form with locked
magazines. With --short only the short form is run, in both modes.
"""

import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import box
import cases
import harness


def compare(case, folder, library, short, modes):
    length = "short" if short else "full"
    plain = box.outcome(case, folder, harness.environment(), short)
    for mode in modes:
        env = harness.environment(library, POOLMALLOC_MAGAZINE=mode)
        try:
            found = box.outcome(case, folder, env, short)
        except harness.Failure as failure:
            raise harness.Failure(f"with the library, magazine={mode}, {length}: {failure}") from None
        different = box.difference(plain, found)
        harness.expect(different is None, f"magazine={mode}, {length}: {different}")


def test():
    case = cases.CASES[sys.argv[1]]
    library = os.path.abspath(sys.argv[2])
    # A library that is not loaded would pass every comparison.
    maps = harness.run(["cat", "/proc/self/maps"], harness.environment(library))
    harness.expect(library.encode() in maps.stdout, f"{library} is not loaded\n{harness.describe(maps)}")
    with tempfile.TemporaryDirectory(prefix="poolmalloc-") as parent:
        folder = pathlib.Path(parent, "box")
        if sys.argv[3] == "--short":
            compare(case, folder, library, short=True, modes=("auto", "locked"))
        else:
            compare(case, folder, library, short=False, modes=("auto",))
            compare(case, folder, library, short=True, modes=("locked",))


harness.main(test)
