"""poolmalloc prof and leaks on profiles in files: names, numbers, formats, bad input.

Usage: prof_test.py PART TOOL COMPILER...     the parts are the functions of PARTS below

The profiles come from profiled.cc: real stacks of functions that are known, and counts that are known.
"""

import gzip
import json
import math
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness
from harness import expect

PART, TOOL, COMPILER = sys.argv[1], os.path.realpath(sys.argv[2]), sys.argv[3:]

SHOP = "(anonymous namespace)::shop::"
HIDDEN, INLINED = "(anonymous namespace)::hidden", "(anonymous namespace)::inlined"
# Objects allocated by stack, from main on, as profiled.cc has them.
ALLOCATED = {
    ("main", SHOP + "open_store", SHOP + "fill_shelf"): 208,
    ("main", SHOP + "Leaky::forget"): 300,
    ("main", SHOP + "descend", SHOP + "descend"): 64,
}
IN_LIBRARY = ("main", "enter_library", HIDDEN, INLINED)
PERIOD = 524288


def scaled(samples, size):
    """What so many samples stand for, in bytes."""
    return samples * size / (1 - math.exp(-size / PERIOD))


INUSE_BYTES = scaled(100, 1024) + scaled(4, 1048576) + scaled(300, 65536) + scaled(10, 2048)


def command(*words, stdin=None, **options):
    return harness.run([TOOL, *map(str, words)], harness.environment(), input=stdin, **options)


def ok(*words, **options):
    done = command(*words, **options)
    expect(done.returncode == 0, harness.describe(done))
    return done.stdout.decode()


def refused(done, code, pattern):
    """One line on stderr that matches, nothing on stdout."""
    expect(done.returncode == code and done.stdout == b"", harness.describe(done))
    expect(re.fullmatch(f"poolmalloc: {pattern}\n", done.stderr.decode()), f"expected {pattern}\n{harness.describe(done)}")


def build(folder, source, name, *flags, compiler=None):
    output = folder / name
    done = harness.run([*(compiler or COMPILER), "-std=c++17", "-O2", *flags, HERE / source, "-o", output, "-ldl"],
                       harness.environment())
    expect(done.returncode == 0, harness.describe(done))
    return output


def build_library(folder, *flags, **options):
    return build(folder, "profiled_library.cc", "libprofiled.so", "-shared", "-fPIC", *flags, **options)


def profile(program, *words, period=1, name="profile.txt"):
    output = program.parent / name
    done = harness.run([program, output, str(period), *map(str, words)], harness.environment())
    expect(done.returncode == 0, harness.describe(done))
    return output


def strip(path, *flags):
    subprocess.run(["strip", *flags, path], check=True)


def stacks(text):
    """Collapsed stacks as {functions from main on: value}; each line is one."""
    found = {}
    for line in text.splitlines():
        names, value = line.rsplit(" ", 1)
        functions = tuple(names.split(";"))
        start = next((i for i, name in enumerate(functions) if name == "main"), 0)
        expect(functions[start:] not in found, f"{line} is there twice")
        found[functions[start:]] = int(value)
    return found


def allocated(dump, note=""):
    done = command("prof", "convert", dump, "--format", "collapsed", "--weight", "alloc", "--unit", "objects")
    expect(done.returncode == 0, harness.describe(done))
    expect(done.stderr.decode() == (f"poolmalloc: {note}\n" if note else ""), f"expected {note}: {harness.describe(done)}")
    return stacks(done.stdout.decode())


def symbol_range(path, part_of_name):
    """Address and end of a function, by nm."""
    lines = subprocess.run(["nm", "-S", path], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    start, size = next(line.split()[:2] for line in lines if part_of_name in line and len(line.split()) == 4)
    return int(start, 16), int(start, 16) + int(size, 16)


def address_in(name, module, original, part_of_name):
    """Checks a name such as libfoo.so+0x1234 against the symbols of the file before it was stripped."""
    found = re.fullmatch(re.escape(module) + r"\+0x([0-9a-f]+)", name)
    expect(found, f"{name} is not an address in {module}")
    start, end = symbol_range(original, part_of_name)
    expect(start < int(found.group(1), 16) < end, f"{name} is not in {part_of_name} ({start:x} to {end:x})")


def symbols(folder):
    library = build_library(folder, "-g")
    everything = {**ALLOCATED, IN_LIBRARY: 10}
    compilers = [COMPILER] + ([["clang++"]] if shutil.which("clang++") else [])
    for compiler in compilers:
        for flags in (["-pie", "-fPIE"], ["-no-pie", "-fno-pie"]):
            program = build(folder, "profiled.cc", "profiled", "-g", *flags, compiler=compiler)
            dump = profile(program, library)
            expect(allocated(dump) == everything, f"{compiler} {flags}: {allocated(dump)}")

    # Unloaded in the meantime: its mapping is in the dump.
    dump = profile(program, library, "close")
    expect(" gone " in dump.read_text() and allocated(dump) == everything, allocated(dump))

    # Symbols without debug information: the inlined functions are lost, the others are not.
    strip(program, "--strip-debug")
    expect(allocated(profile(program)) == {
        ("main", SHOP + "open_store"): 208, ("main", SHOP + "Leaky::forget"): 300,
        ("main", SHOP + "descend", SHOP + "descend"): 64,
    }, allocated(profile(program)))


def stripped(folder):
    program = build(folder, "profiled.cc", "profiled", "-g", "-pie", "-fPIE")
    library = build_library(folder, "-g")
    originals = {path.name: shutil.copy(path, folder / (path.name + ".original")) for path in (program, library)}

    def of_library(dump, note=""):
        return next(names for names, objects in allocated(dump, note).items() if objects == 10)

    # Of a stripped library the exported functions keep their names, the others have an address that nm knows.
    strip(library)
    names = of_library(profile(program, library))
    expect(names[:2] == ("main", "enter_library") and len(names) == 3, names)
    address_in(names[2], "libprofiled.so", originals["libprofiled.so"], "hidden")

    # Debug information kept in a file of its own tells all.
    (folder / ".debug").mkdir()
    debug_file = folder / ".debug" / "libprofiled.so.debug"
    subprocess.run(["objcopy", "--only-keep-debug", originals["libprofiled.so"], debug_file], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug_file}", library], check=True)
    dump = profile(program, library)
    expect(of_library(dump) == IN_LIBRARY, of_library(dump))
    shutil.rmtree(folder / ".debug")

    # A stripped program.
    strip(program)
    deep = max(allocated(profile(program)), key=allocated(profile(program)).get)
    address_in(deep[-1], "profiled", originals["profiled"], "forget")


def other_files(folder):
    """A library that is gone, or another one now, has no names: those of another build would be wrong."""
    program = build(folder, "profiled.cc", "profiled", "-g")
    library = build_library(folder, "-g")
    original = shutil.copy(library, folder / "original")
    dump = profile(program, library)

    def without_names(note):
        names = next(names for names, objects in allocated(dump, note).items() if objects == 10)
        expect(names[0] == "main" and all(name.startswith("libprofiled.so+0x") for name in names[1:]), names)

    library.unlink()
    without_names(f"no symbols of {library}: there is no such file any more")
    build_library(folder, "-g", "-DANOTHER", "-fno-inline-small-functions")
    without_names(f"no symbols of {library}: the file there is another build than the process ran")
    library.write_text("no ELF file")
    without_names(f"no symbols of {library}: there is no such file any more")
    library.unlink()
    os.mkfifo(library)  # must not be opened: that would wait for a writer
    without_names(f"no symbols of {library}: there is no such file any more")
    library.unlink()
    shutil.copy(original, library)
    expect(allocated(dump)[IN_LIBRARY] == 10, "the same build serves again")

    nameless = change(dump, "nameless.txt", r"[0-9a-f]{40} here (\S*libprofiled)", r"- here \1")
    done = command("prof", "top", nameless)
    expect(done.stderr.decode() == f"poolmalloc: no symbols of {library}: the profile has no build id to know the file by\n",
           harness.describe(done))
    lost = change(dump, "lost.txt", r"^(site 2 .* stack) .*", r"\1 0")
    expect(allocated(lost)[("[unknown]",)] == 300, allocated(lost))

    # Without build ids a file counts if it is older than the profile.
    library = build_library(folder, "-g", "-Wl,--build-id=none")
    past = library.stat().st_mtime - 3600
    os.utime(library, (past, past))
    dump = profile(program, library)
    expect(allocated(dump)[IN_LIBRARY] == 10, allocated(dump))
    os.utime(library, (past + 7200, past + 7200))
    without_names(f"no symbols of {library}: the file there is newer than the profile and has no build id")


def numbers(folder):
    program = build(folder, "profiled.cc", "profiled", "-g")
    dump = profile(program, build_library(folder, "-g"), period=PERIOD)
    found = stacks(ok("prof", "convert", dump, "--format", "collapsed"))
    expected = {
        ("main", SHOP + "open_store", SHOP + "fill_shelf"): scaled(100, 1024) + scaled(4, 1048576),
        ("main", SHOP + "Leaky::forget"): scaled(300, 65536),
        IN_LIBRARY: scaled(10, 2048),
    }
    expect(found == {names: round(value) for names, value in expected.items()}, found)
    found = stacks(ok("prof", "convert", dump, "--format", "collapsed", "--weight", "temporary", "--unit", "objects"))
    expect(found[("main", SHOP + "descend", SHOP + "descend")] == round(scaled(64, 512) / 512), found)

    # From stdin, to a file; the raw format is what was read.
    output = folder / "out"
    expect(ok("prof", "convert", "-", "-o", output, "--format", "raw", stdin=dump.read_bytes()) == "", "")
    expect(output.read_bytes() == dump.read_bytes(), "raw differs")
    umask = os.umask(0)
    os.umask(umask)
    expect(output.stat().st_mode & 0o777 == 0o666 & ~umask, oct(output.stat().st_mode))

    table = json.loads(ok("prof", "top", dump, "--json"))
    first = table["functions"][0]
    expect(first["name"] == SHOP + "Leaky::forget", first)
    q = 1 - math.exp(-65536 / PERIOD)
    expect(math.isclose(first["flat"]["value"], scaled(300, 65536)), first)
    expect(math.isclose(first["flat"]["error"], math.sqrt(300 * (1 - q)) / q * 65536), first)
    expect(math.isclose(table["total"]["value"], INUSE_BYTES) and table["dropped"] == 3, table)
    lines = ok("prof", "top", dump, "--rows", "1").splitlines()
    expect(re.fullmatch(r"and \d+ more functions", lines[-1]), lines)
    expect(lines[-2].split()[:2] == ["159.6", "MiB"] and lines[-2].endswith(SHOP + "Leaky::forget"), lines)


def speedscope(folder):
    program = build(folder, "profiled.cc", "profiled", "-g")
    dump = profile(program, build_library(folder, "-g"), period=PERIOD)
    file = json.loads(ok("prof", "convert", dump, "--format", "speedscope"))
    # What file-format-schema.json requires.
    expect(file["$schema"] == "https://www.speedscope.app/file-format-schema.json", file["$schema"])
    frames = file["shared"]["frames"]
    for frame in frames:
        expect(set(frame) <= {"name", "file", "line", "col"} and isinstance(frame["name"], str), frame)
    for entry in file["profiles"]:
        expect(set(entry) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}, entry)
        expect(entry["type"] == "sampled" and entry["unit"] in ("bytes", "none"), entry)
        expect(len(entry["samples"]) == len(entry["weights"]), entry)
        expect(all(0 <= index < len(frames) for sample in entry["samples"] for index in sample), entry)
        expect(math.isclose(sum(entry["weights"]), entry["endValue"] - entry["startValue"]), entry)
    inuse = next(entry for entry in file["profiles"] if entry["name"] == "inuse space")
    expect(math.isclose(inuse["endValue"], INUSE_BYTES), inuse)
    by_names = {}
    for sample, weight in zip(inuse["samples"], inuse["weights"]):
        names = tuple(frames[index]["name"] for index in sample)
        names = names[names.index("main"):]
        by_names[names] = by_names.get(names, 0) + weight
    expect(math.isclose(by_names[IN_LIBRARY], scaled(10, 2048)), by_names)


def change(dump, name, old, new):
    """A copy of a dump with something replaced, which must be there."""
    text = dump.read_text()
    expect(re.search(old, text, re.M), f"{old} is not in the dump")
    copy = dump.parent / name
    copy.write_text(re.sub(old, new, text, flags=re.M))
    return copy


def diff(folder):
    program = build(folder, "profiled.cc", "profiled", "-g")
    before = profile(program, name="before.txt")
    again = profile(program, name="again.txt")
    expect(ok("prof", "diff", before, again, "--format", "collapsed") == "", "another run of the program differs")
    after = change(again, "after.txt", r"^(site 2 65536) 300 300", r"\1 450 400")
    after = change(after, "after.txt", r"^(site 0 1024 200) 100", r"\1 90")
    found = stacks(ok("prof", "diff", before, after, "--format", "collapsed"))
    shelf, leak = ("main", SHOP + "open_store", SHOP + "fill_shelf"), ("main", SHOP + "Leaky::forget")
    expect(found == {leak: 100 * 65536, shelf: -10 * 1024}, found)
    found = stacks(ok("prof", "diff", before, after, "--format", "collapsed", "--weight", "alloc", "--unit", "objects"))
    expect(found == {leak: 150}, found)
    table = json.loads(ok("prof", "diff", before, after, "--json"))
    expect([entry["change"]["value"] for entry in table["stacks"]] == [6553600, -10240], table)
    text = ok("prof", "diff", before, after)
    expect(f"\n+6.3 MiB\n    {SHOP}Leaky::forget\n    main\n" in text and "\n-10.0 KiB\n" in text, text)


def leaks(folder):
    program = build(folder, "profiled.cc", "profiled", "-g")
    dump = profile(program, build_library(folder, "-g"))
    report = json.loads(ok("leaks", dump, "--json"))
    expect(report["older_than_s"] == 300, report)
    rows = [(entry["functions"][-1], entry["old"]["objects"], entry["live"]["objects"]) for entry in report["leaks"]]
    expect(rows == [(SHOP + "Leaky::forget", 150, 300), (SHOP + "fill_shelf", 4, 104), (INLINED, 10, 10)], rows)
    ages = [entry["live"]["objects"] for entry in report["leaks"][0]["ages"]]
    expect(ages == [5, 20, 75, 50, 100, 50, 0, 0], ages)
    text = ok("leaks", dump, "--rows", "1")
    expect("\n1. 9.4 MiB in 150 objects\n" in text and "30m-2h 3.1 MiB, 5m-30m 6.3 MiB, 1m-5m 3.1 MiB" in text, text)
    expect(text.endswith("\nand 2 more stacks\n"), text)
    # Between two steps the longer one counts, so that nothing younger is shown.
    report = json.loads(ok("leaks", dump, "--older-than", "31m", "--json"))
    expect(report["older_than_s"] == 7200 and [entry["old"]["objects"] for entry in report["leaks"]] == [10], report)
    refused(command("leaks", dump, "--older-than", "13h"), 2, "ages are told apart up to 12h: .*")
    refused(command("leaks", dump, "--watch", "2s"), 2, f"only a process can be watched, and {dump} is none")
    young = change(dump, "young.txt", r"^started .*", lambda _: re.sub("taken", "started", re.search(
        r"^taken .*", dump.read_text(), re.M).group(0)))
    done = command("leaks", young)
    expect(done.returncode == 0 and done.stderr == b"poolmalloc: the profile is only 0 s old, so nothing in it can be older\n",
           harness.describe(done))


def bad_input(folder):
    program = build(folder, "profiled.cc", "profiled")
    dump = profile(program)
    whole = dump.read_bytes()
    cut, output = folder / "cut.txt", folder / "output"
    for length in range(0, len(whole), 100):
        cut.write_bytes(whole[:length])
        line = whole[:length].count(b"\n") + 1
        what = "the file is cut off here" if length else "the file is empty"
        refused(command("prof", "convert", cut, "-o", output), 1, f"{cut}, line {line}: {what}")
        expect(not output.exists(), "a file was left")
    for words in (["prof", "top", cut], ["prof", "diff", cut, dump], ["prof", "diff", dump, cut], ["leaks", cut]):
        refused(command(*words), 1, f"{cut}, line {line}: {what}")
    refused(command("prof", "top", "-", stdin=b"\x7fELF\n"), 1, "stdin, line 1: this is not a poolmalloc heap profile.*")
    refused(command("prof", "top", "/nowhere"), 1, "cannot read /nowhere: No such file or directory")
    refused(command("prof", "top", folder), 1, f"cannot read {folder}: Is a directory")
    refused(command("prof", "dump", "nonsense"), 2, "nonsense is not the number of a process")
    for words in ([], ["bogus"], ["top"], ["dump"], ["start"], ["start", "0"], ["start", "x"], ["start", "1", "--rate", "0"],
                  ["convert", dump, "--format", "bogus"], ["diff", dump], ["diff", dump, dump, "--format", "speedscope"],
                  ["top", dump, "--weight", "bogus"], ["top", dump, "--unit", "miles"]):
        expect(command("prof", *words).returncode == 2, f"prof {words} is taken")

    # Processes that cannot be asked.
    with subprocess.Popen(["sleep", "60"]) as other:
        for words in (["prof", "start"], ["prof", "stop"], ["prof", "dump"], ["leaks"]):
            refused(command(*words, other.pid), 1, rf"process {other.pid} \(sleep\) does not run on poolmalloc but .*")
        other.kill()
    for words in (["prof", "dump", "-o", output], ["prof", "top"], ["leaks", "--watch", "1"]):
        refused(command(*words, other.pid), 1, f"there is no process {other.pid}")
    expect(not output.exists(), "a file was left")


def full_disk(folder):
    program = build(folder, "profiled.cc", "profiled")
    dump = profile(program)
    text = dump.read_text()
    site = re.search(r"^site 0 (.*)\n", text, re.M).group(1)
    large = folder / "large.txt"
    large.write_text(re.sub(r"^end .*", "".join(f"site {i} {site}{i:x}\n" for i in range(3000)) + "end 3004", text, flags=re.M))

    # A limit on the size of files stops writing as a full disk does.
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    room = folder / "room"
    room.mkdir()
    target = room / "profile"
    for present in (None, "what was there"):
        if present:
            target.write_text(present)
        for form in ("pprof", "collapsed", "speedscope", "raw"):
            done = command("prof", "convert", large, "-o", target, "--format", form, preexec_fn=limit)
            refused(done, 1, f"cannot write {target}: File too large")
            left = {path.name: path.read_text() for path in room.iterdir()}
            expect(left == ({"profile": present} if present else {}), left)
    refused(command("prof", "convert", large, "-o", "/dev/full"), 1, "cannot write /dev/full: No space left on device")
    expect(os.path.exists("/dev/full"), "the device was replaced")
    with open("/dev/full", "wb") as full:
        for words in (["prof", "convert", large], ["prof", "top", dump], ["leaks", dump], ["prof", "diff", dump, large]):
            done = subprocess.run([TOOL, *words], env=harness.environment(), stdout=full, stderr=subprocess.PIPE)
            expect(done.returncode == 1 and done.stderr == b"poolmalloc: cannot write to stdout: No space left on device\n",
                   f"{words}: {done}")

    # A disk that is really full, where we may mount one.
    target.unlink()
    script = (f"mount -t tmpfs -o size=16k none {room} || exit 99; {TOOL} prof convert {large} -o {target} --format raw; "
              f"echo $? $(ls -A {room} | wc -l)")
    done = harness.run(["unshare", "--map-root-user", "--mount", "sh", "-c", script], harness.environment())
    if done.returncode == 99 or b"unshare" in done.stderr:
        raise harness.Skip("all but a real full disk was tested: no mounts here")
    expect(done.stdout == b"1 0\n" and done.stderr.decode() == f"poolmalloc: cannot write {target}: No space left on device\n",
           harness.describe(done))


# Stands in for a process on poolmalloc: answers each request on the control socket with the next line of its script, "ok"
# or "error ..."; behind it may stand the file whose content goes into the descriptor that came along.
STAND_IN = """
import array, os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(b"\\0poolmalloc-%d" % os.getpid())
listener.listen()
print("ready", flush=True)
for step in sys.argv[1:]:
    reply, _, dump = step.partition("|")
    peer, _ = listener.accept()
    line, ancillary, _, _ = peer.recvmsg(512, socket.CMSG_SPACE(4))
    print(line.decode().rstrip(), len(ancillary), flush=True)
    if dump:
        with os.fdopen(array.array("i", ancillary[0][2])[0], "wb") as out:
            out.write(open(dump, "rb").read())
    peer.sendall(reply.encode() + b"\\n")
    peer.close()
"""


class StandIn:
    def __init__(self, *script):
        self.process = subprocess.Popen([sys.executable, "-c", STAND_IN, *script], stdout=subprocess.PIPE, text=True)
        expect(self.process.stdout.readline() == "ready\n", "the stand-in does not listen")
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def was_asked(self):
        return self.process.communicate(timeout=30)[0].splitlines()


def live(folder):
    program = build(folder, "profiled.cc", "profiled", "-g")
    dump = profile(program)
    grown = change(dump, "grown.txt", r"^(site 0 1024) 200 100", r"\1 300 200")
    grown = change(grown, "grown.txt", r"^taken (\d+)", lambda match: f"taken {int(match.group(1)) + 7}")
    cut = folder / "cut.txt"
    cut.write_bytes(dump.read_bytes()[:300])

    with StandIn("ok one sample in 64 KiB", "ok", f"ok|{dump}", f"ok|{dump}", f"ok|{grown}", f"ok|{dump}", f"ok|{dump}") as process:
        expect(ok("prof", "start", process.pid, "--rate", "64k") == "one sample in 64 KiB\n", "what it says")
        expect(ok("prof", "start", process.pid) == "", "nothing said")
        output = folder / "raw"
        expect(ok("prof", "dump", process.pid, "-o", output, "--format", "raw") == "", "nothing said")
        expect(output.read_bytes() == dump.read_bytes(), "the dump is another")
        # Watched: the stack that grew comes first, though another one holds more.
        report = json.loads(ok("leaks", process.pid, "--older-than", "10s", "--watch", "1s", "--json"))
        expect(report["watched_s"] == 7, report)
        rows = [(entry["functions"][-1], entry["growth"]["objects"]) for entry in report["leaks"]]
        expect(rows == [(SHOP + "fill_shelf", 100), (SHOP + "Leaky::forget", 0)], rows)
        expect(stacks(ok("prof", "dump", process.pid, "--format", "collapsed"))[("main", SHOP + "Leaky::forget")] == 300 * 65536,
               "collapsed")
        expect(stacks(ok("prof", "diff", process.pid, grown, "--format", "collapsed")) == {
            ("main", SHOP + "open_store", SHOP + "fill_shelf"): 102400}, "diff of a process with a file")
        asked = process.was_asked()
        expect(asked == ["prof start 65536 0", "prof start 0"] + ["prof dump 1"] * 5, asked)

    with StandIn("ok", "error no profile is taken", "ok", f"ok|{cut}", "error the disk is full") as process:
        expect(ok("prof", "stop", process.pid) == "", "nothing said")
        output.unlink()
        refused(command("prof", "dump", process.pid, "-o", output), 1, f"process {process.pid}: no profile is taken")
        name = f"the profile of process {process.pid}"
        refused(command("prof", "dump", process.pid, "-o", output), 1, f"{name}, line 1: the file is empty")
        refused(command("prof", "dump", process.pid, "-o", output), 1, f"{name}, line [0-9]+: the file is cut off here")
        refused(command("leaks", process.pid, "--watch", "1"), 1, f"process {process.pid}: the disk is full")
        expect(not output.exists(), "a file was left")
        process.was_asked()


def pprof(folder):
    go = shutil.which("go") or next(map(str, pathlib.Path("/usr/lib").glob("go-*/bin/go")), None)
    if go is None:
        raise harness.Skip("there is no Go, whose pprof should open the profile")
    program = build(folder, "profiled.cc", "profiled", "-g")
    library = build_library(folder, "-g")
    dump = profile(program, library, period=PERIOD)
    file = folder / "profile.pb.gz"
    ok("prof", "convert", dump, "-o", file)
    expect(gzip.decompress(file.read_bytes()), "no gzip file")

    def opened(*words):
        done = harness.run([go, "tool", "pprof", *map(str, words)],
                           harness.environment(HOME=folder, PPROF_TMPDIR=folder, PPROF_BINARY_PATH=folder))
        expect(done.returncode == 0, harness.describe(done))
        return done.stdout.decode()

    raw = opened("-raw", file)
    expect("PeriodType: space bytes\nPeriod: 524288\n" in raw, raw)
    expect("inuse_space/bytes[dflt]" in raw, raw)
    build_id = re.search(r" ([0-9a-f]{40}) here .*/libprofiled\.so$", dump.read_text(), re.M).group(1)
    expect(f"{library} {build_id} [FN][FL][LN][IN]" in raw, raw)
    expect(re.search(rf"^1: .* {program} ", raw, re.M), f"the program is not the first mapping: {raw}")
    expect(re.search(r"^ +2553 +167321547 +2553 +167321547 .*\n +bytes:\[65536 bytes\]", raw, re.M), raw)
    expect(f"{SHOP}fill_shelf {HERE}/profiled.cc:" in raw, raw)

    live, everything = ((100, 1024), (4, 1048576), (300, 65536), (10, 2048)), (
        (200, 1024), (8, 1048576), (300, 65536), (64, 512), (10, 2048))
    for index, samples in (("inuse_space", live), ("alloc_space", everything), ("inuse_objects", live),
                           ("alloc_objects", everything), ("peak_space", ((150, 1024), (6, 1048576), (290, 65536), (10, 2048))),
                           ("temporary_objects", ((20, 1024), (64, 512)))):
        unit = "B" if index.endswith("space") else "count"
        total = sum(round(scaled(count, size) / (1 if unit == "B" else size)) for count, size in samples)
        text = opened("-top", f"-sample_index={index}", f"-unit={unit}", file)
        found = re.search(r"of (\d+)B? total", text)
        expect(found and int(found.group(1)) == total, f"{index}: expected {total}: {text}")
    top = opened("-top", file).splitlines()
    expect(next(line for line in top if "%" in line and "flat%" not in line and "Showing" not in line).endswith(
        SHOP + "Leaky::forget"), top)

    shrunk = change(dump, "shrunk.txt", r"^(site 2 65536 300) 300", r"\1 100")
    change_file = folder / "change.pb.gz"
    ok("prof", "diff", dump, shrunk, "--format", "pprof", "-o", change_file)
    text = opened("-top", "-unit=B", change_file)
    expect(re.search(rf"-{round(scaled(200, 65536))}B .*Leaky::forget", text), text)


PARTS = {part.__name__: part for part in (symbols, stripped, other_files, numbers, speedscope, diff, leaks, bad_input,
                                          full_disk, live, pprof)}


def test():
    with tempfile.TemporaryDirectory() as folder:
        PARTS[PART](pathlib.Path(folder).resolve())


harness.main(test)
