"""poolmalloc advise names the size classes that a program needs, and they do save what it says: TOOL LIBRARY COMPILER."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
COMPILER = sys.argv[3:]

# Holds COUNT objects of each SIZE and says so.
SOURCE = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
int main(int count, char** words) {
  for (int i = 1; i + 1 < count; i += 2) {
    for (long left = std::atol(words[i + 1]); left > 0; --left) std::memset(std::malloc(std::atol(words[i])), 1, 1);
  }
  std::puts("ready");
  std::fflush(stdout);
  pause();
}
"""

NOTE = r"# Which sizes it asks for is not known; a heap profile tells: poolmalloc prof start \d+"


def tool(*arguments):
    return harness.run([TOOL, *map(str, arguments)], harness.environment(), timeout=60)


class Holder:
    def __init__(self, program, sizes, **variables):
        words = [str(word) for pair in sizes for word in pair]
        self.process = subprocess.Popen([program, *words], stdout=subprocess.PIPE,
                                        env=harness.environment(LIBRARY, POOLMALLOC_WORKER="always", **variables))
        self.pid = self.process.pid
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def statistics(self):
        """Once the page shows all of the program's objects: live bytes that stay as they are."""
        deadline = time.monotonic() + 60
        before = -1
        while True:
            done = tool("stats", self.pid, "--format", "json")
            now = json.loads(done.stdout) if done.returncode == 0 else {"live_bytes": -2}
            if now["live_bytes"] == before and before > 1_000_000:
                return now
            before = now["live_bytes"]
            expect(time.monotonic() < deadline, harness.describe(done))
            time.sleep(0.7)

    def advice(self):
        done = tool("advise", self.pid)
        expect(done.returncode == 0 and done.stderr == b"", harness.describe(done))
        return done.stdout.decode()

    def resident(self):
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def sizes_advised(advice):
    found = re.findall("^POOLMALLOC_SIZE_CLASSES=(.*)$", advice, re.M)
    expect(len(found) <= 1, advice)
    return found[0] if found else None


def saves_what_it_says(program):
    """40,000 objects of 1040 bytes lie in the class of 1152."""
    sizes = [(1040, 40000), (2600, 4000), (64, 20000)]
    with Holder(program, sizes, POOLMALLOC_PROFILE="64k") as holder:
        before = holder.statistics()
        before_rss = holder.resident()
        advice = holder.advice()
        classes = sizes_advised(advice)
        expect(classes and "1040" in classes.split(",") and "64" not in classes.split(","), advice)
        expect(not re.search(NOTE, advice), advice)
        rows = json.loads(tool("advise", holder.pid, "--json").stdout)
        row = next(row for row in rows if row["option"] == "size_classes")
        expect(row["value"] == classes and row["variable"] == "POOLMALLOC_SIZE_CLASSES", row)
        said = re.search(r"take about ([0-9.]+) MiB less \(± ([0-9.]+) (KiB|MiB)", row["reason"])
        expect(said, row)
        saved = float(said[1]) * 2**20
        error = float(said[2]) * (2**10 if said[3] == "KiB" else 2**20)
    # The line, as it stands.
    with Holder(program, sizes, POOLMALLOC_SIZE_CLASSES=classes, POOLMALLOC_PROFILE="64k") as holder:
        after = holder.statistics()
        difference = before["slab_bytes"] - after["slab_bytes"]
        expect(abs(difference - saved) < 5 * error + 2**20, f"saved {difference}, not {saved} +- {error}")
        expect(before_rss - holder.resident() > difference * 3 // 4, f"RSS {before_rss} became {holder.resident()}")
        expect(sizes_advised(holder.advice()) is None, "what was set is advised again")


def says_nothing_in_vain(program):
    with Holder(program, [(1024, 20000), (1040, 800)], POOLMALLOC_PROFILE="64k") as holder:
        holder.statistics()
        advice = holder.advice()
        expect(sizes_advised(advice) is None and advice.startswith("# Nothing to advise"), advice)
    with Holder(program, [(1040, 20000)]) as holder:
        holder.statistics()
        advice = holder.advice()
        expect(sizes_advised(advice) is None and re.search(NOTE, advice) and str(holder.pid) in advice, advice)
        expect(json.loads(tool("advise", holder.pid, "--json").stdout) == [], "more than advice in the JSON")


def test():
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "holder.cc"
        source.write_text(SOURCE)
        program = pathlib.Path(folder) / "holder"
        subprocess.run([*COMPILER, "-O1", "-o", program, source], check=True)
        saves_what_it_says(program)
        says_nothing_in_vain(program)


if __name__ == "__main__":
    harness.main(test)
