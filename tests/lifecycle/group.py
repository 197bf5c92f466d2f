"""Programs in a memory control group of their own. Needs the right to make one: skips otherwise.

Usage: group.py CASE LIBRARY PROGRAM
"""

import contextlib
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402
from harness import expect  # noqa: E402

MIB = 1024 * 1024


def hierarchy():
    """Where memory groups live here, and the name of the file with a group's limit."""
    root = pathlib.Path("/sys/fs/cgroup")
    if (root / "memory/memory.limit_in_bytes").exists() or (root / "memory/cgroup.procs").exists():
        return root / "memory", "memory.limit_in_bytes"
    if "memory" in (root / "cgroup.subtree_control").read_text().split() if (root / "cgroup.subtree_control").exists() else False:
        return root, "memory.max"
    raise harness.Skip("there is no memory hierarchy of control groups")


@contextlib.contextmanager
def group(limit):
    root, file = hierarchy()
    path = root / f"poolmalloc-test-{os.getpid()}"
    try:
        path.mkdir()
        (path / file).write_text(str(limit))
    except OSError as refusal:
        with contextlib.suppress(OSError):
            path.rmdir()
        raise harness.Skip(f"no right to make a control group: {refusal}") from None
    try:
        yield path
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.05)


def run_in(path, command, env, **options):
    return harness.run(command, env, preexec_fn=lambda: (path / "cgroup.procs").write_text(str(os.getpid())), **options)


def crossing(library, program, **variables):
    """150 MiB live at the most in 220: what is free must go back before the next round needs it."""
    with group(220 * MIB) as path:
        env = harness.environment(library, POOLMALLOC_WORKER_START_BYTES="16m", POOLMALLOC_DIRTY_BYTES="1t",
                                  POOLMALLOC_MEMORY_PRICE="0", POOLMALLOC_STATS="1", **variables)
        done = run_in(path, [program, "150", "12"], env)
        expect(done.returncode == 0, harness.describe(done))
        expect(b"survived" in done.stdout, harness.describe(done))
        figures = dict(re.findall(r"^  (\w+) +([\d.,]+(?: \w+)?)", done.stderr.decode(), re.MULTILINE))
        print({name: value for name, value in figures.items() if re.match("released|emerg|limit|worker", name)})
        expect(figures["limit_bytes"].startswith("220.0 MiB"), f"limit_bytes: {figures['limit_bytes']}")


def crossing_slices(library, program):
    crossing(library, program, POOLMALLOC_WORKER="off")


def crossing_blind(library, program):
    """The same where nothing looks at the limit: without this ending in a kill, the two above would show nothing."""
    with group(220 * MIB) as path:
        env = harness.environment(library, POOLMALLOC_WORKER_START_BYTES="1t", POOLMALLOC_WORKER_START_SECONDS="0",
                                  POOLMALLOC_DIRTY_BYTES="1t")
        done = run_in(path, [program, "150", "12"], env)
        expect(done.returncode == -9, harness.describe(done))


def pair(library, program, *how):
    """One process needs what another will free a moment later: it waits for that, without spinning. The kernel kills
    it otherwise, every time; the time that it waits at most is short enough for a slow machine to need a second try."""
    tries = []
    for _ in range(3):
        with group(190 * MIB) as path:
            done = run_in(path, [program, *how], harness.environment(library))
            tries.append(harness.describe(done))
            if b"has no worker" in done.stdout:
                raise harness.Skip("no worker thread here")
            if b"survived" in done.stdout:
                expect(done.returncode == 0, tries[-1])
                print(done.stdout.decode())
                return
            expect(done.returncode == -9 or b"other was killed" in done.stderr, tries[-1])
    expect(False, "\n".join(tries))


def pair_forking(library, program):
    """The same while a fork is under way for longer than it waits."""
    pair(library, program, "fork")


CASES = {function.__name__: function for function in (crossing, crossing_slices, crossing_blind, pair, pair_forking)}


def test():
    case, *arguments = sys.argv[1:]
    CASES[case](*(os.path.abspath(argument) for argument in arguments))


harness.main(test)
