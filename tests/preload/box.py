"""One place where a program runs: a fresh folder, a record of everything it printed, and the files it left."""

import hashlib
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness


class Box:
    """What a case gets. Two runs of a case are equal when their records are.

    The folder has the same path in every run, because programs write paths into what they produce.
    """

    def __init__(self, folder, env, short):
        self.folder = folder
        self.env = env
        self.short = short  # the second, shorter comparison: a case may do less
        self.record = []

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *command, replace=(), stdin=None, timeout=300, ok=True, **variables):
        """Runs a command and records it; `replace` are (pattern, text) for what differs in every run, such as times."""
        done = harness.run([str(word) for word in command], {**self.env, **variables}, timeout=timeout, cwd=self.folder,
                           input=stdin)
        harness.expect(not ok or done.returncode == 0, harness.describe(done))
        texts = []
        for text in (done.stdout, done.stderr):
            for pattern, by in replace:
                text = re.sub(pattern, by, text)
            texts.append(text)
        self.record.append((" ".join(map(str, command)), done.returncode, *texts))
        return done

    def start(self, *command):
        """Starts a server; what it prints is not compared."""
        return subprocess.Popen([str(word) for word in command], env=self.env, cwd=self.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def forget(self, *patterns):
        """Removes files that differ in every run."""
        for pattern in patterns:
            for path in self.folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def files(self):
        """Every file's name, mode and digest."""
        result = {}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_symlink():
                result[name] = f"-> {path.readlink()}"
            elif path.is_file():
                result[name] = f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            else:
                result[name] = "folder"
        return result


def needs(*programs):
    """The paths of the programs, or a skip."""
    paths = []
    for program in programs:
        path = shutil.which(program)
        if path is None:
            raise harness.Skip(f"{program} is missing")
        paths.append(path)
    return paths[0] if len(paths) == 1 else paths


def outcome(case, folder, env, short):
    """Runs the case in the emptied folder and returns its record and its files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    box = Box(folder, env, short)
    case(box)
    harness.expect(box.record, "the case ran nothing")
    return box.record, box.files()


def tail(value):
    return str(value)[-1500:]


def difference(expected, found):
    """A message about the first thing that differs, or None."""
    for one, other in zip(expected[0], found[0]):
        if one == other:
            continue
        for part, before, after in zip(("command", "exit code", "stdout", "stderr"), one, other):
            if before != after:
                return f"{one[0]}: {part} differs\n  without the library: {tail(before)}\n  with it: {tail(after)}"
    if len(expected[0]) != len(found[0]):
        return f"{len(found[0])} commands instead of {len(expected[0])}"
    for name in sorted(set(expected[1]) | set(found[1])):
        if expected[1].get(name) != found[1].get(name):
            return f"file {name}: {expected[1].get(name)} without the library, {found[1].get(name)} with it"
    return None
