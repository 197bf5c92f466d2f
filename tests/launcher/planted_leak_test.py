"""A planted leak is the first row of `poolmalloc leaks` on a process that was not prepared: TOOL LIBRARY COMPILER."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
COMPILER = sys.argv[3:]

SOURCE = r"""
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <map>
#include <string>
__attribute__((noinline)) char* planted_leak() {
  char* const p = static_cast<char*>(std::malloc(3000));
  std::memset(p, 1, 3000);  // or the call would be a jump, which leaves no frame
  return p;
}
__attribute__((noinline)) void cache(std::map<int, std::string>& m, int i) { m[i % 500] = std::string(20000, 'x'); }
int main() {
  std::map<int, std::string> m;
  static char* volatile held;
  for (int i = 0;; ++i) {
    held = planted_leak();
    cache(m, i);
    usleep(1000);
  }
}
"""

PYTHON = """
import time, zlib
held = []
def churn():
    return [bytes(3000) for _ in range(200)]
while True:
    held.append(zlib.compressobj(1))      # each holds some 100 KiB in C
    x = churn()
    time.sleep(0.002)
"""


def tool(*arguments):
    return harness.run([TOOL, *map(str, arguments)], harness.environment(), timeout=60)


def first_leak(command, names):
    """Starts the program, asks for a profile while it runs, and waits until the first row names what was planted."""
    environment = harness.environment(LIBRARY, PYTHONMALLOC="malloc")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        begun = time.monotonic()
        while (done := tool("prof", "start", process.pid, "--rate", "64k")).returncode != 0:
            expect(time.monotonic() - begun < 30, harness.describe(done))
            time.sleep(0.3)
        again = tool("prof", "start", process.pid)
        expect(again.returncode == 1 and b"already" in again.stderr, harness.describe(again))
        report = ""
        while time.monotonic() - begun < 60:
            time.sleep(2)
            done = tool("leaks", process.pid, "--older-than", "1s", "--json")
            expect(done.returncode == 0, harness.describe(done))
            report = done.stdout.decode()
            rows = json.loads(report)["leaks"]
            if rows and any(name in json.dumps(rows[0]) for name in names):
                return process
        raise harness.Failure(f"after a minute the first row does not name {names}: {report[:3000]}")
    except BaseException:
        process.kill()
        raise


def end(process):
    done = tool("prof", "stop", process.pid)
    expect(done.returncode == 0, harness.describe(done))
    done = tool("prof", "stop", process.pid)
    expect(done.returncode == 1 and b"no profile" in done.stderr, harness.describe(done))
    # What was counted stays.
    expect(tool("prof", "top", process.pid).returncode == 0, "no dump after the stop")
    process.kill()
    process.wait()


def test():
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "leaky.cc"
        source.write_text(SOURCE)
        program = pathlib.Path(folder) / "leaky"
        subprocess.run([*COMPILER, "-O2", "-g", "-o", program, source], check=True)
        end(first_leak([program], ["planted_leak"]))
    end(first_leak([sys.executable, "-c", PYTHON], ["deflateInit2_", "compressobj"]))


if __name__ == "__main__":
    harness.main(test)
