#!/usr/bin/env python3
"""A box: a fresh memory cgroup (version 1 or 2) with a limit, to run programs in and to see whether they were killed.

As a module: Box. As a program:

Usage: bench/cgroup.py --limit SIZE [--] COMMAND...   runs the command in a box (SIZE such as 620M), says on stderr what
                                                      it used at most and whether it was killed
       bench/cgroup.py --smoke                        tests itself; exits with 77 where no group can be made
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time


class NoBox(Exception):
    """No memory group can be made here; the text says why."""


def parse_size(text):
    """Bytes of "4096", "512K", "620M" or "2G"."""
    match = re.fullmatch(r"([0-9]+)([KMG]?)", text.upper())
    if match is None:
        raise ValueError(f"not a size: {text}")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def _mounts():
    """(version, root, mount point) of each mounted hierarchy that can account memory."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        root, point = fields.split()[3:5]
        if kind == "cgroup" and "memory" in options.split(","):
            yield 1, root, pathlib.Path(point)
        if kind == "cgroup2":
            yield 2, root, pathlib.Path(point)


def _own_group():
    """(version, mount point, directory) of the group that accounts this process's memory."""
    paths = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            paths[1] = path
        elif number == "0":
            paths[2] = path
    version = 1 if 1 in paths else 2
    for mounted, root, point in _mounts():
        path = paths.get(version)
        if mounted != version or path is None:
            continue
        below = os.path.relpath(path, root)
        if not below.startswith(".."):
            directory = point / below
            if (directory / "cgroup.procs").exists():
                return version, point, directory
    raise NoBox("no memory hierarchy is mounted")


def _parent():
    """(version, directory) below which a group with a limit can be made: as near to our own as possible, so that
    whatever limits us limits the box too."""
    version, point, directory = _own_group()
    if version == 1:
        return version, directory
    # Version 2 lets a group have limiting children only where that is switched on, and not beside processes.
    while True:
        if "memory" in (directory / "cgroup.subtree_control").read_text().split():
            return version, directory
        if directory == point:
            raise NoBox("no group above this process hands the memory controller down")
        directory = directory.parent


class Box:
    """A context manager: the group is made on entering; on leaving, what still runs in it is killed, and it is removed."""

    _made = 0

    def __init__(self, limit):
        self.limit_bytes = limit
        self.version = None
        self.directory = None

    def __enter__(self):
        self.version, parent = _parent()
        Box._made += 1
        directory = parent / f"poolmalloc-box-{os.getpid()}-{Box._made}"
        try:
            directory.mkdir()
        except OSError as error:
            raise NoBox(f"no group can be made in {parent}: {error.strerror}") from error
        self.directory = directory
        try:
            self.limit(self.limit_bytes)
        except OSError as error:
            self.remove()
            raise NoBox(f"no limit can be set in {directory}: {error.strerror}") from error
        return self

    def __exit__(self, *_):
        self.remove()

    def _read(self, name):
        return (self.directory / name).read_text()

    def _write(self, name, value):
        (self.directory / name).write_text(str(value))

    def _table(self, name):
        return {key: int(value) for key, value in (line.split() for line in self._read(name).splitlines())}

    def limit(self, limit):
        """Sets the limit, in bytes; swap does not extend it where the kernel accounts swap."""
        self._write("memory.limit_in_bytes" if self.version == 1 else "memory.max", limit)
        self.limit_bytes = limit
        # Only where there is swap: version 1 with both limits alike counts neither as met (seen on 6.18).
        if re.search(r"^SwapTotal:\s*0 kB", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE):
            return
        try:
            if self.version == 1:
                self._write("memory.memsw.limit_in_bytes", limit)
            else:
                self._write("memory.swap.max", 0)
        except FileNotFoundError:
            pass  # the kernel does not account swap

    def start(self, command, **settings):
        """subprocess.Popen in the box: the program is inside from its first instruction."""
        procs = os.fsencode(self.directory / "cgroup.procs")

        def enter():
            descriptor = os.open(procs, os.O_WRONLY)
            os.write(descriptor, b"0")
            os.close(descriptor)

        return subprocess.Popen(command, preexec_fn=enter, **settings)

    def usage(self):
        """Bytes counted against the limit now, less the file pages that the kernel would drop first."""
        total = int(self._read("memory.usage_in_bytes" if self.version == 1 else "memory.current"))
        key = "total_inactive_file" if self.version == 1 else "inactive_file"
        return max(0, total - self._table("memory.stat")[key])

    def peak(self):
        """The highest usage so far, file pages included; None on kernels that do not say."""
        try:
            return int(self._read("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"))
        except FileNotFoundError:
            return None

    def kills(self):
        """Processes that the kernel killed because the limit was met."""
        return self._table("memory.oom_control" if self.version == 1 else "memory.events")["oom_kill"]

    def met(self):
        """How often the limit was met."""
        return int(self._read("memory.failcnt")) if self.version == 1 else self._table("memory.events")["max"]

    def processes(self):
        return [int(number) for number in self._read("cgroup.procs").split()]

    def remove(self):
        if self.directory is None:
            return
        end = time.monotonic() + 10
        while True:
            for process in self.processes():
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                self.directory.rmdir()
                break
            except OSError:
                # Killed processes, and children of ours that were not waited for, take a moment.
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.directory = None


GREEDY = "import sys; kept = bytearray(int(sys.argv[1])); kept[::4096] = b'x' * len(kept[::4096]); print(len(kept))"


def smoke():
    size = 64 << 20
    with Box(size) as box:
        first = box.directory
        fits = box.start([sys.executable, "-c", GREEDY, str(16 << 20)], stdout=subprocess.PIPE)
        assert fits.communicate()[0].strip() == str(16 << 20).encode() and fits.returncode == 0
        assert box.kills() == 0, "killed below the limit"
        assert box.peak() is None or 16 << 20 <= box.peak() <= size, box.peak()
        greedy = box.start([sys.executable, "-c", GREEDY, str(2 * size)], stdout=subprocess.DEVNULL)
        assert greedy.wait() == -signal.SIGKILL, greedy.returncode
        assert box.kills() == 1 and box.met() > 0, "the kill was not seen"
        box.limit(4 * size)
        assert box.start([sys.executable, "-c", GREEDY, str(2 * size)], stdout=subprocess.DEVNULL).wait() == 0
        assert box.usage() < size and box.processes() == []
        left = box.start(["sleep", "1000"])
        assert box.processes() == [left.pid]
    assert left.wait() == -signal.SIGKILL and not first.exists()
    print("fits, is killed, is counted, is removed")


def main():
    arguments = sys.argv[1:]
    try:
        if arguments == ["--smoke"]:
            smoke()
            return 0
        if len(arguments) < 3 or arguments[0] != "--limit":
            print(__doc__.strip())
            return 0 if arguments in (["-h"], ["--help"]) else 2
        command = arguments[3:] if arguments[2] == "--" else arguments[2:]
        with Box(parse_size(arguments[1])) as box:
            status = box.start(command).wait()
            peak = box.peak()
            print(f"peak {'unknown' if peak is None else f'{peak / 2**20:.1f} MiB'}, limit met {box.met()} times, "
                  f"{box.kills()} killed", file=sys.stderr)
            return status if status >= 0 else 128 - status
    except ValueError as error:
        print(f"bench/cgroup.py: {error}", file=sys.stderr)
        return 2
    except NoBox as reason:
        print(f"bench/cgroup.py: {reason}", file=sys.stderr)
        return 77


if __name__ == "__main__":
    sys.exit(main())
