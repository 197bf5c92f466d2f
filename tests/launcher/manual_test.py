"""The manual pages and the shells' completions say what the command takes: manual_test.py TOOL PAGE..."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL = os.path.realpath(sys.argv[1])
PAGES = [pathlib.Path(page) for page in sys.argv[2:]]


def tool(*arguments):
    done = harness.run([TOOL, *arguments], harness.environment())
    expect(done.returncode == 0, harness.describe(done))
    return done.stdout.decode()


def subcommands(*path):
    """What help lists below a command, each as a path."""
    listed = tool(*path, "--help").partition("Subcommands:\n")[2].partition("\n\n")[0]
    for line in listed.splitlines():
        name = re.match(r"  ([a-z][a-z-]*)", line)
        if name:
            yield (*path, name[1])
            yield from subcommands(*path, name[1])


def options(path):
    listed = tool(*path, "--help").partition("Options:\n")[2].partition("\n\n")[0]
    return [word for line in listed.splitlines() for word in re.findall(r"^  (?:-\w,)?(--[a-z][a-z-]*)", line)]


def rendered(page):
    done = subprocess.run(["groff", "-ww", "-man", "-Tascii", "-P-cbou", str(page)], capture_output=True, check=False)
    expect(done.returncode == 0 and done.stderr == b"", f"groff on {page}: {done.stderr.decode()}")
    return done.stdout.decode()


def command_page():
    text = rendered(PAGES[0])
    paths = list(subcommands())
    expect(len(paths) >= 8, f"only {paths} in --help")
    for path in paths:
        expect("poolmalloc " + " ".join(path) in text, f"poolmalloc.1 leaves out {' '.join(path)}")
        for option in options(path):
            expect(option == "--help" or option in text, f"poolmalloc.1 leaves out {option} of {' '.join(path)}")


def library_page():
    text = rendered(PAGES[1])
    for word in ("pm_trim", "pm_heap_create_file", "ENOSPC, EDQUOT", "POOLMALLOC_DIRTY_BYTES", "committed_bytes", "Presets:"):
        expect(word in text, f"libpoolmalloc.3 leaves out {word}")


def complete(script, *words):
    """What bash offers for the last word."""
    line = f"source {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _poolmalloc; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, text=True)
    return done.stdout.split()


def completions():
    with tempfile.TemporaryDirectory() as folder:
        for shell in ("bash", "zsh", "fish"):
            script = pathlib.Path(folder) / shell
            script.write_text(tool("completion", shell))
            program = shutil.which(shell)
            expect(program is not None, f"{shell} is missing: scripts/setup test")
            done = subprocess.run([program, "-n", script], capture_output=True, check=False)
            expect(done.returncode == 0 and done.stderr == b"", f"{shell} -n: {done.stderr.decode()}")
        bash = pathlib.Path(folder) / "bash"
        expect(complete(bash, TOOL, "sta") == ["status", "stats"], str(complete(bash, TOOL, "sta")))
        expect("--format" in complete(bash, TOOL, "stats", "-"), "stats has no --format")
        expect(complete(bash, TOOL, "stats", "--format", "op") == ["openmetrics"], "no word for --format")
        expect(complete(bash, TOOL, "completion", "z") == ["zsh"], "no word for the shell")
        expect("--json" not in complete(bash, TOOL, "stats", "-"), "an option of another subcommand")
    done = harness.run([TOOL, "completion", "tcsh"], harness.environment())
    expect(done.returncode == 2, harness.describe(done))


def test():
    command_page()
    library_page()
    completions()


if __name__ == "__main__":
    harness.main(test)
