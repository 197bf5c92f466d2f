"""Life outside of main: what needs an environment, a second process or other rights.

Usage: runner.py CASE LIBRARY [FILE...]
"""

import json
import os
import pathlib
import pwd
import re
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

RESIDENT_LIMIT = 300 * 1024  # what the library may add to the smallest program
SAMPLES = 15
# One line of OpenMetrics: a comment, or a sample with optional labels.
OPENMETRICS_COMMENT = re.compile(r"# (TYPE|HELP|UNIT) (poolmalloc_\w+) \S.*")
OPENMETRICS_SAMPLE = re.compile(r'(poolmalloc_\w+)(\{\w+="[^"]*"(,\w+="[^"]*")*\})? -?\d+(\.\d+)?')


def succeed(command, env, **options):
    done = harness.run(command, env, **options)
    expect(done.returncode == 0, harness.describe(done))
    return done


def quiet(done):
    expect(done.stderr == b"", f"expected nothing on stderr\n{harness.describe(done)}")


def audit(library, program, audit_library):
    plain = succeed([program], harness.environment(LD_AUDIT=audit_library))
    expect(plain.stdout.startswith(b"audited\n"), f"the audit library is not active\n{harness.describe(plain)}")
    done = succeed([program], harness.environment(library, LD_AUDIT=audit_library))
    quiet(done)
    expect(done.stdout == plain.stdout, f"other output than without the library\n{harness.describe(done)}")


def early(library, program, with_resolver, with_constructor):
    """ld.so relocates the last library first, and none can run before: a resolver must stand before an allocator."""
    orders = (with_resolver, with_constructor, f"{with_resolver}:{library}", f"{with_constructor}:{library}",
              f"{library}:{with_constructor}")
    for order in orders:
        done = succeed([program], harness.environment(order))
        quiet(done)
        expect(done.stdout.startswith(b"early\n"), f"LD_PRELOAD={order}\n{harness.describe(done)}")


def deepbind(library, program, caller):
    quiet(succeed([program, caller], harness.environment(library)))


def deepbind_kept(library, program, caller):
    """The flag works where it is asked for: the objects come from libc's own heap, which is reported once."""
    done = succeed([program, caller, "kept"], harness.environment(library, POOLMALLOC_DEEPBIND="keep"))
    lines = done.stderr.decode().splitlines()
    expect(len(lines) == 1 and "was not allocated here" in lines[0], harness.describe(done))


def secure(library, program):
    """A setuid program must not be told by its caller's environment what to do, nor where to write."""
    if os.geteuid() != 0:
        raise harness.Skip("only root can make a setuid program for another user")
    if not shutil.which("setpriv"):
        raise harness.Skip("setpriv is missing")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        nobody = pwd.getpwnam("nobody")
        as_nobody = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        plain, raised, report = (os.path.join(folder, name) for name in ("plain", "raised", "report"))
        shutil.copy(program, plain)
        shutil.copy(program, raised)
        os.chmod(plain, 0o755)
        os.chmod(raised, 0o4755)
        if harness.run(as_nobody + ["test", "-r", library], harness.environment()).returncode != 0:
            raise harness.Skip(f"the user nobody cannot read {library}")

        # First without the bit: the library is there and listens.
        env = harness.environment(POOLMALLOC_STATS="1")
        done = harness.run(as_nobody + [plain], env)
        expect(done.returncode == 4 and done.stderr, f"expected statistics\n{harness.describe(done)}")

        for variables in ({"POOLMALLOC_STATS": "1"}, {"POOLMALLOC_STATS": "1", "POOLMALLOC_STATS_FILE": report},
                          {"POOLMALLOC_CHECK": "bogus"}, {"POOLMALLOC_VERBOSE": "1"}):
            done = harness.run(as_nobody + [raised], harness.environment(**variables))
            if done.returncode == 4:
                raise harness.Skip("the file system ignores the setuid bit")
            expect(done.returncode == 0, harness.describe(done))
            quiet(done)
            expect(not os.path.exists(report), "a setuid program wrote a statistics file")


def check_text(text):
    expect(re.search(r"mode: (rseq|locked)", text), f"no mode in the statistics\n{text[:2000]}")
    expect(re.search(r"^\s*allocations\s+[1-9]\d*", text, re.M), f"no allocations in the statistics\n{text[:2000]}")


def check_json(text):
    try:
        report = json.loads(text)
    except ValueError as error:
        raise harness.Failure(f"not JSON: {error}\n{text[:2000]}") from None
    expect(report["mode"] in ("rseq", "locked"), f"mode is {report['mode']}")
    # The program made 2000 objects in each of three rounds, and reallocated every one.
    expect(report["allocations"] >= 6000, f"allocations is {report['allocations']}")
    expect(report["committed_bytes"] > 0, "nothing committed")
    expect(report["frees"] <= report["allocations"], "more frees than allocations")


def check_openmetrics(text):
    *lines, last = text.splitlines()
    expect(last == "# EOF", f"the last line is {last}")
    typed, samples = set(), set()
    for line in lines:
        comment, sample = OPENMETRICS_COMMENT.fullmatch(line), OPENMETRICS_SAMPLE.fullmatch(line)
        expect(comment or sample, f"not a line of OpenMetrics: {line}")
        if comment and comment[1] == "TYPE":
            expect(comment[2] not in typed, f"two types for {comment[2]}")
            typed.add(comment[2])
        if sample:
            expect(re.sub("_(total|info)$", "", sample[1]) in typed, f"no type before {line}")
            series = line.rsplit(" ", 1)[0]
            expect(series not in samples, f"twice: {series}")
            samples.add(series)
    expect("poolmalloc_allocations_total" in samples, "no poolmalloc_allocations_total")


def stats(library, program):
    plain = succeed([program], harness.environment())
    checks = {"1": check_text, "text": check_text, "json": check_json, "openmetrics": check_openmetrics}
    for value, check in checks.items():
        done = succeed([program], harness.environment(library, POOLMALLOC_STATS=value))
        expect(done.stdout == plain.stdout, f"other output than without the library\n{harness.describe(done)}")
        check(done.stderr.decode())
    quiet(succeed([program], harness.environment(library, POOLMALLOC_STATS="0")))


def stats_file(library, program):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stats-%p.json")
        done = succeed([program], harness.environment(library, POOLMALLOC_STATS="json", POOLMALLOC_STATS_FILE=path))
        quiet(done)
        names = os.listdir(folder)
        expect(len(names) == 1 and re.fullmatch(r"stats-\d+\.json", names[0]), f"files: {names}")
        check_json(pathlib.Path(folder, names[0]).read_text())
        # Where the file cannot be written the program goes on.
        path = os.path.join(folder, "missing", "stats")
        succeed([program], harness.environment(library, POOLMALLOC_STATS="json", POOLMALLOC_STATS_FILE=path))


def footprint(library, program, flavour):
    """The smallest program: memory, threads and loaded files, with the library and without."""
    def samples(env):
        outputs = [succeed([program], env).stdout.decode().splitlines() for _ in range(SAMPLES)]
        numbers = [tuple(map(int, output[0].split())) for output in outputs]
        files = {line.split()[-1] for line in outputs[0][1:] if "/" in line.split()[-1]}
        return statistics.median(resident for resident, _ in numbers), max(threads for _, threads in numbers), files

    plain_resident, plain_threads, plain_files = samples(harness.environment())
    resident, threads, files = samples(harness.environment(library))
    more = resident - plain_resident
    print(f"resident: {plain_resident} bytes without the library, {more} more with it")
    expect(threads == plain_threads == 1, f"{threads} threads")
    expect(files - plain_files == {library}, f"also loaded: {files - plain_files}")
    # The debug flavours carry audits and are larger.
    if flavour == "release":
        expect(more <= RESIDENT_LIMIT, f"{more} bytes more than without the library")


def valgrind(library, program):
    if not shutil.which("valgrind"):
        raise harness.Skip("valgrind is missing")
    command = ["valgrind", "--error-exitcode=9", "--leak-check=full", program]
    plain = harness.run(command, harness.environment(), timeout=300)
    if plain.returncode != 0:
        raise harness.Skip("valgrind does not work here: " + plain.stderr.decode(errors="replace")[-300:])
    done = succeed(command, harness.environment(library), timeout=300)
    expect(done.stdout == plain.stdout, f"other output than without the library\n{harness.describe(done)}")
    # Valgrind still sees every allocation: the library stepped aside.
    usage = rb"total heap usage: ([\d,]+) allocs"
    seen = [int(re.search(usage, run.stderr)[1].replace(b",", b"")) for run in (plain, done)]
    expect(seen[1] >= seen[0], f"valgrind saw {seen[1]} allocations, without the library {seen[0]}")
    ours = [line for line in done.stderr.decode().splitlines() if line.startswith("poolmalloc:")]
    expect(len(ours) <= 1, "\n".join(ours))


def switched_off(library, program):
    plain = succeed([program], harness.environment())
    done = succeed([program], harness.environment(library, POOLMALLOC_ENABLED="0"))
    quiet(done)
    expect(done.stdout == plain.stdout, harness.describe(done))


CASES = {function.__name__: function for function in (
    audit, early, deepbind, deepbind_kept, secure, stats, stats_file, footprint, valgrind, switched_off)}


def test():
    case, *arguments = sys.argv[1:]
    # Paths are made absolute, words such as the flavour stay as they are.
    CASES[case](*(os.path.abspath(argument) if os.path.exists(argument) else argument for argument in arguments))


harness.main(test)
