"""Runs one misuse and compares signal, exit code and the exact line on stderr: runner.py CASE PROGRAM LIBRARY."""

import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness

HEAP = {  # case -> line; {0}, {1} are the addresses that the program printed
    "double_free": "double free of {0} (size class 64) in {program}",
    "double_free_after_one": "double free of {0} (size class 64), found when it left the magazine",
    "double_free_delayed": "double free of {0} (size class 64), found when it left the magazine",
    "double_free_after_200": "double free of {0} (size class 64), found when it left the magazine",
    "double_free_large": "double free of {0} (large object) in {program}",
    "double_free_in_library": "double free of {0} (size class 64) in libmisuse.so",
    "double_free_in_another_thread": "double free of {0} (size class 64) in {program}",
    "double_free_on_another_cpu": "double free of {0} (size class 64), found when it left the magazine",
    "interior": "free of {0}, an address inside an object of size class 64 at {1}, in {program}",
    "misaligned": "free of {0}, an address inside an object of size class 64 at {1}, in {program}",
    "misaligned_by_8": "free of {0}, an address inside an object of size class 64 at {1}, in {program}",
    "interior_long": "free of {0}, an address inside an object of size class 20480 at {1}, in {program}",
    "double_free_long": "double free of {0} (size class 20480) in {program}",
    "interior_large": "free of {0}, an address inside a large object at {1}, in {program}",
    "misaligned_large": "free of {0}, an address inside a large object at {1}, in {program}",
    "stack": "free of {0}, which is on a stack, in {program}",
    "thread_stack": "free of {0}, which is on a stack, in {program}",
    "unmapped": "free of {0}, which is not mapped, in {program}",
    "static_data": "free of {0}, which belongs to {program}, in {program}",
    "vdso": "free of {0}, which belongs to [vdso], in {program}",
    "realloc_freed": "realloc of freed {0} (size class 64) in {program}",
    "realloc_freed_large": "realloc of freed {0} (large object) in {program}",
    "usable_size_freed": "malloc_usable_size of freed {0} (size class 64) in {program}",
    "sized_free": "sized free of {0} with size 4096 (size class 64) in {program}",
    "sized_delete": "sized free of {0} with size 4096 (size class 64) in {program}",
    "file_double_free": "double free of {0} (size class 64) in {program}",
    "file_double_free_large": "free of {0}, which is free memory of a file heap, in {program}",
    "file_interior": "free of {0}, an address inside an object of size class 64 at {1}, in {program}",
    "file_realloc_freed": "realloc of freed {0} (size class 64) in {program}",
    "file_sized_free": "sized free of {0} with size 4096 (size class 64) in {program}",
    "file_destroyed": "free of {0}, whose file heap was destroyed, in {program}",
    "file_other_heap": "pm_heap_free of {0}, which does not belong to that heap, in {program}",
}

# A locked magazine looks further back.
LOCKED = {
    "double_free_after_one": "double free of {0} (size class 64) in {program}",
    "double_free_delayed": "double free of {0} (size class 64) in {program}",
}

# Sampled objects (POOLMALLOC_PROFILE=1 samples all) are in no magazine, so each double free is seen at once.
SAMPLED = {
    **LOCKED,
    "double_free_after_200": "double free of {0} (size class 64) in {program}",
    "double_free_on_another_cpu": "double free of {0} (size class 64) in {program}",
}

FOREIGN = {  # these go on in any case: (line, further options)
    "foreign": ("{0} was not allocated here; {program} passed it to free; handed to libc (reported once)", {}),
    "foreign_realloc": ("{0} was not allocated here; {program} passed it to realloc; handed to libc (reported once)",
                        {}),
    "foreign_deepbind": ("{0} was not allocated here; {program} passed it to free; handed to libc (reported once)",
                         {"POOLMALLOC_DEEPBIND": "keep"}),
}

# Too far back to be seen earlier: the program goes on until it ends.
AT_EXIT = {HEAP["double_free_delayed"]: {"double_free_delayed", "double_free_after_200"}}

OPTIONS = {  # case -> (variable, value, line)
    "option_choice": ("POOLMALLOC_CHECK", "bogus", "POOLMALLOC_CHECK=bogus is not one of off, default; using default"),
    "option_unknown": ("POOLMALLOC_FOO", "1", "POOLMALLOC_FOO is not an option; ignored"),
    "option_size": ("POOLMALLOC_MAGAZINE_BYTES", "12q",
                    "POOLMALLOC_MAGAZINE_BYTES=12q is not a size (a number with an optional k, m, g or t); using 2m"),
    "option_range": ("POOLMALLOC_MAGAZINE_BYTES", "1", "POOLMALLOC_MAGAZINE_BYTES=1 is outside 64k..1g; using 2m"),
    "option_good": ("POOLMALLOC_MAGAZINE_BYTES", "1m", None),
}


def check(program, case, library, line, aborts, **options):
    """One run. `line` is the only thing that may be on stderr; None means nothing at all."""
    done = harness.run([program, case], harness.environment(library, **options), timeout=60)
    *addresses, last = done.stdout.decode().split() or [""]
    if aborts and case in AT_EXIT.get(line, ()):
        harness.expect(done.returncode == -signal.SIGABRT, f"expected SIGABRT at exit\n{harness.describe(done)}")
    elif aborts:
        addresses.append(last)
        harness.expect(done.returncode == -signal.SIGABRT, f"expected SIGABRT\n{harness.describe(done)}")
        harness.expect(last != "survived", f"the program went on\n{harness.describe(done)}")
    else:
        harness.expect(done.returncode == 0 and last == "survived", f"expected to go on\n{harness.describe(done)}")
    expected = "" if line is None else f"poolmalloc: {line.format(*addresses, program=os.path.basename(program))}\n"
    harness.expect(done.stderr.decode() == expected, f"expected on stderr: {expected}{harness.describe(done)}")


def test():
    case = sys.argv[1]
    program, library = map(os.path.abspath, sys.argv[2:])
    if case in HEAP:
        for magazine in ("auto", "locked"):
            options = {"POOLMALLOC_MAGAZINE": magazine}
            line = LOCKED.get(case, HEAP[case]) if magazine == "locked" else HEAP[case]
            check(program, case, library, line, aborts=True, **options)
            check(program, case, library, line, aborts=False, POOLMALLOC_MISUSE="continue", **options)
            line = SAMPLED.get(case, HEAP[case])
            check(program, case, library, line, aborts=True, POOLMALLOC_PROFILE="1", **options)
            check(program, case, library, line, aborts=False, POOLMALLOC_PROFILE="1", POOLMALLOC_MISUSE="continue",
                  **options)
    elif case in FOREIGN:
        line, options = FOREIGN[case]
        check(program, case, library, line, aborts=False, **options)
        check(program, case, library, line, aborts=False, POOLMALLOC_MISUSE="continue", **options)
    else:
        variable, value, line = OPTIONS[case]
        check(program, "none", library, line, aborts=False, **{variable: value})


harness.main(test)
