"""Runs one job under one allocator, through bench-launch, and collects what it cost."""

import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import subprocess


class Failure(Exception):
    pass


@dataclasses.dataclass
class Allocator:
    name: str
    library: pathlib.Path | None = None  # None: whatever the program is linked with
    environment: dict = dataclasses.field(default_factory=dict)


def clean_environment():
    """Ours, without what would reach into the measured programs."""
    unwanted = ("LD_", "MALLOC_", "POOLMALLOC_", "PERL", "PYTHON")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | {"LC_ALL": "C"}


def measure(launcher, allocator, job, folder, timeout):
    variables = dict(job.environment) | allocator.environment
    if allocator.library:
        variables["LD_PRELOAD"] = str(allocator.library)
    result_file = folder.parent / "result.json"
    output_file = folder.parent / "output"
    errors_file = folder.parent / "errors"
    command = [str(launcher), str(result_file)] + ["--tree"] * job.tree
    command += [f"{key}={value}" for key, value in variables.items()] + ["--"] + job.command()
    with open(output_file, "wb") as output, open(errors_file, "wb") as errors:
        # A session of its own, so that a timeout or Ctrl-C can end the whole tree.
        process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=errors, start_new_session=True)
        try:
            job.drive(folder, lambda: process.poll() is None)
            process.wait(timeout=timeout)
        except BaseException as error:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failure(f"not done after {timeout} s") from None
            raise
    complaint = errors_file.read_text(errors="replace").strip()
    if process.returncode != 0:
        raise Failure(f"bench-launch failed: {complaint}")
    result = json.loads(result_file.read_text())
    if "cannot be preloaded" in complaint:
        raise Failure(complaint.splitlines()[0])
    if result["signal"]:
        raise Failure(last_line(f"killed by {signal.Signals(result['signal']).name}", complaint))
    if result["exit"]:
        raise Failure(last_line(f"exit status {result['exit']}", complaint))
    output = output_file.read_bytes()
    result["output_digest"] = hashlib.sha256(output).hexdigest()
    result["numbers"] = job.numbers(output)
    return result


def last_line(what, complaint):
    return f"{what}: {complaint.splitlines()[-1]}" if complaint else what
