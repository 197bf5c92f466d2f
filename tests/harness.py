"""What the Python runners share: a clean environment, running a program with or without the library, and skipping."""

import os
import subprocess
import sys

SKIPPED = 77  # the exit code that meson reports as a skip


class Skip(Exception):
    """Raised with the reason why a test cannot run here."""


class Failure(Exception):
    """Raised with what is wrong."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


def environment(library=None, **variables):
    """A small, fixed environment: nothing of the user's settings, and nothing of meson's (it sets MALLOC_PERTURB_).

    `library` must be an absolute path, since ld.so looks for it from wherever a program runs.
    """
    kept = ("PATH", "HOME", "USER", "TMPDIR", "JAVA_HOME", "PYENV_ROOT", "PYENV_VERSION")
    result = {name: os.environ[name] for name in kept if name in os.environ}
    result.update(LC_ALL="C", TZ="UTC")
    if library:
        result["LD_PRELOAD"] = str(library)
    result.update({name: str(value) for name, value in variables.items()})
    return result


def run(command, env, timeout=120, **options):
    """Runs a command to its end and returns it with its output as bytes. A hang is a failure, not an exception."""
    try:
        return subprocess.run(command, env=env, timeout=timeout, capture_output=True, **options)
    except subprocess.TimeoutExpired as hang:
        raise Failure(f"{' '.join(map(str, command))} did not end within {timeout} s\n"
                      f"stderr: {(hang.stderr or b'')[-1000:].decode(errors='replace')}") from None


def describe(done):
    """One finished command, for the reader of a failure."""
    stdout, stderr = (text[-1500:].decode(errors="replace") for text in (done.stdout, done.stderr))
    return f"{' '.join(map(str, done.args))}\nexit code {done.returncode}\nstdout: {stdout}\nstderr: {stderr}"


def main(test):
    """Runs the test and turns its outcome into an exit code: 0 passed, 1 failed, 77 skipped."""
    try:
        test()
    except Skip as skip:
        print(f"skipped: {skip}")
        sys.exit(SKIPPED)
    except Failure as failure:
        print(f"failed: {failure}")
        sys.exit(1)
