"""poolmalloc top in a terminal (tmux): what is on the screen, and what the keys do: top_test.py TOOL LIBRARY
COMPILER."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import Skip, expect

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
COMPILER = sys.argv[3:]

SERVICE = """
import time
kept = []
while True:
    kept.append([str(i) * 10 for i in range(500)])
    if len(kept) > 300: kept = kept[150:]
    time.sleep(0.01)
"""


# Hoards in one function, and less in another.
HOARDER = r"""
#include <cstdlib>
#include <cstring>
#include <unistd.h>
__attribute__((noinline)) char* planted_hoard() { return static_cast<char*>(std::memset(std::malloc(3000), 1, 3000)); }
__attribute__((noinline)) char* small_change() { return static_cast<char*>(std::memset(std::malloc(3000), 1, 100)); }
int main() {
  static char* volatile held;
  for (int i = 0;; ++i) {
    if (i < 40000) held = planted_hoard();
    if (i < 40000 && i % 5 == 0) held = small_change();
    usleep(i < 40000 ? 200 : 10000);
  }
}
"""


class Terminal:
    """A window of tmux, on a server of its own, that runs a command and stays when that has ended."""

    def __init__(self, folder, command, width, height, **variables):
        # Of its own: a server that is just ending still holds its socket.
        self.socket = tempfile.mktemp(prefix="tmux-", dir=folder)
        self.variables = harness.environment(**variables)
        words = " ".join(f"'{word}'" for word in command)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
                  f"{words}; echo ended with $?; sleep 1000")

    def tmux(self, *arguments):
        done = harness.run(["tmux", "-S", self.socket, *arguments], self.variables)
        expect(done.returncode == 0, harness.describe(done))
        return done.stdout.decode()

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def wait_for(self, pattern, seconds=30, absent=False):
        deadline = time.monotonic() + seconds
        while True:
            screen = self.screen()
            if bool(re.search(pattern, screen, re.M)) != absent:
                return screen
            expect(time.monotonic() < deadline, f"{pattern!r} {'stays' if absent else 'is not'} on the screen:\n{screen}")
            time.sleep(0.1)

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, timeout=20)


def start(**variables):
    environment = harness.environment(LIBRARY, POOLMALLOC_WORKER="always", **variables)
    return subprocess.Popen([sys.executable, "-c", SERVICE], env=environment)


def watch_one(folder, service):
    pid = service.pid
    terminal = Terminal(folder, [TOOL, "top", "-d", "0.3", str(pid)], 120, 35, LC_ALL="C.UTF-8", TERM="xterm-256color")
    try:
        screen = terminal.wait_for(rf"^poolmalloc top  python\S* \(pid {pid}\)  up .*(rseq|locked)")
        for line in ("^pressure +calm", "^mappings +\\d", r"^live +[0-9.]+ [KM]iB  in [0-9,]+ objects", "^RSS +", "^dirty ",
                     "^cached ", "^slabs ", "^huge pages ", "^forecast ", "^rates +malloc .*/s", "^Size classes by live memory",
                     r"^ +size +objects +live", "q quit  p pause"):
            expect(re.search(line, screen, re.M), f"no {line!r} on\n{screen}")
        units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
        live = [float(number) * units[unit] for number, unit in
                re.findall(r"^ +[\d,]+ +[\d,]+ +([\d.]+) (B|KiB|MiB) ", screen, re.M)]
        expect(len(live) > 3 and live == sorted(live, reverse=True) and live[0] > live[-1], screen)
        # Curves of blocks, once there is more than one look.
        terminal.wait_for("^live .*[▁▂▃▄▅▆▇█]{3}")
        terminal.press("s")
        screen = terminal.wait_for("^Size classes by rate")
        scale = {"": 1, " k": 1e3, " M": 1e6}
        rates = [float(number) * scale[unit] for number, unit in
                 re.findall(r" ([0-9.]+)( k| M|)/s", screen.partition("Size classes by rate")[2])]
        expect(len(rates) > 3 and rates == sorted(rates, reverse=True) and rates[0] > rates[-1], screen)
        terminal.press("Tab")
        terminal.wait_for("^Call sites by memory in use")
        terminal.press("Tab")
        terminal.wait_for("^Magazines of the CPUs")
        terminal.press("Tab")
        terminal.wait_for("^Memory nodes")
        terminal.press("Tab")
        terminal.wait_for("^ .* worker     began to watch")
        terminal.press("Tab")
        first_row = terminal.wait_for("^Size classes by rate").splitlines()
        at = next(i for i, line in enumerate(first_row) if line.startswith("Size classes")) + 2
        terminal.press("p")
        first_row = terminal.wait_for("PAUSED").splitlines()[at:at + 2]
        terminal.press("Down")
        deadline = time.monotonic() + 30
        while terminal.screen().splitlines()[at].split()[0] != first_row[1].split()[0]:
            expect(time.monotonic() < deadline, f"{first_row} do not move:\n{terminal.screen()}")
            time.sleep(0.1)
        # Paused, nothing moves.
        before = terminal.screen().splitlines()[3:at]
        time.sleep(1)
        expect(terminal.screen().splitlines()[3:at] == before, "it moves though it is paused")
        terminal.press("p")
        terminal.wait_for("PAUSED", absent=True)
        terminal.press("h")
        terminal.wait_for("^poolmalloc top: keys")
        terminal.press("x")
        terminal.wait_for("^pressure +calm")
        # Smaller windows, down to absurd ones, and back.
        for width, height in ((60, 12), (20, 5), (3, 2), (100, 30)):
            terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
            time.sleep(0.3)
        terminal.wait_for("^huge pages ")
        service.kill()
        service.wait()
        terminal.wait_for("HAS ENDED")
        terminal.press("q")
        terminal.wait_for("^ended with 0$")
    finally:
        terminal.close()


def compiled(folder):
    source = pathlib.Path(folder) / "hoarder.cc"
    source.write_text(HOARDER)
    program = pathlib.Path(folder) / "hoarder"
    subprocess.run([*COMPILER, "-O1", "-g", "-o", program, source], check=True)
    return program


def wait_for_page(pid):
    deadline = time.monotonic() + 30
    while harness.run([TOOL, "status", str(pid)], harness.environment()).returncode != 0:
        expect(time.monotonic() < deadline, "no page")
        time.sleep(0.1)


def frame_of(pid):
    done = harness.run([TOOL, "top", "--once", "--pane", "sites", str(pid)], harness.environment())
    expect(done.returncode == 0, harness.describe(done))
    return done.stdout.decode()


def call_sites(folder):
    """P has the process take a profile: the heaviest call site comes first, by name. Without a channel, P says why not."""
    program = compiled(folder)
    processes = [subprocess.Popen([program], env=harness.environment(LIBRARY, POOLMALLOC_WORKER="always", **more))
                 for more in ({}, {"POOLMALLOC_CONTROL": "off"})]
    pid, deaf = (process.pid for process in processes)
    terminal = None
    try:
        wait_for_page(pid)
        wait_for_page(deaf)
        line = f"No heap profile is being taken. Start one: poolmalloc prof start {pid}"
        expect(line in frame_of(pid), "a profile")
        terminal = Terminal(folder, [TOOL, "top", "-d", "0.3", "--pane", "sites", str(pid)], 120, 35, LC_ALL="C.UTF-8",
                            TERM="xterm-256color")
        terminal.wait_for(f"^No heap profile is being taken. P starts one; or: poolmalloc prof start {pid}$")
        terminal.press("P")
        terminal.wait_for("^a heap profile has begun")
        screen = terminal.wait_for(r"^ +[0-9.]+ MiB +[0-9.]+ [KM]iB +\d+ % +[0-9,]+ +3,072  planted_hoard\(?\)? <- main")
        expect("Call sites by memory in use, one sample in 512.0 KiB" in screen, screen)
        frame = frame_of(pid)
        deadline = time.monotonic() + 30
        while "small_change" not in frame:
            expect(time.monotonic() < deadline, frame)
            time.sleep(0.5)
            frame = frame_of(pid)
        expect(frame.index("planted_hoard") < frame.index("small_change"), frame)
        terminal.press("P")
        terminal.wait_for("^the heap profile has ended")
        terminal.wait_for("^No heap profile is being taken")
        terminal.press("q")
        terminal.wait_for("^ended with 0$")
        terminal.close()
        terminal = Terminal(folder, [TOOL, "top", "-d", "0.3", str(deaf)], 120, 35, TERM="xterm")
        terminal.wait_for("^Size classes")
        terminal.press("P")
        terminal.wait_for("POOLMALLOC_CONTROL=off")
    finally:
        if terminal:
            terminal.close()
        for process in processes:
            process.kill()
            process.wait()


def choose_from_list(folder):
    services = [start(), start()]
    terminal = None
    try:
        terminal = Terminal(folder, [TOOL, "top", "-d", "0.3"], 110, 30, LC_ALL="C", TERM="xterm")
        for service in services:
            terminal.wait_for(rf"^ +{service.pid} python")
        screen = terminal.wait_for("processes on poolmalloc")
        rows = [line.split()[0] for line in screen.splitlines()[2:] if re.match(r" +\d+ ", line)]
        for _ in range(rows.index(str(services[1].pid))):
            terminal.press("Down")
        # Others may have come meanwhile, and what cannot be watched is not.
        for _ in range(20):
            terminal.press("Enter")
            try:
                screen = terminal.wait_for(r"^poolmalloc top  \S+ \(pid \d+\)", seconds=3)
            except harness.Failure:
                screen = ""
            if f"(pid {services[1].pid})" in screen:
                break
            if screen:
                terminal.press("b")
                terminal.wait_for("processes on poolmalloc")
            terminal.press("Down")
        expect(f"(pid {services[1].pid})" in screen, screen or terminal.screen())
        # A terminal that is not UTF-8 gets curves of plain characters.
        terminal.wait_for("^live .*[_.=+*%#-]{3}$")
        expect(screen.isascii(), screen)
        terminal.press("b")
        terminal.wait_for("processes on poolmalloc")
        terminal.press("C-c")
        terminal.wait_for("^ended with 0$")
    finally:
        if terminal:
            terminal.close()
        for service in services:
            service.kill()
            service.wait()


def unknown_terminal(folder, service):
    terminal = Terminal(folder, ["env", "TERM=bogus", TOOL, "top", str(service.pid)], 100, 10, TERM="xterm")
    try:
        terminal.wait_for("poolmalloc: the terminal bogus is not known here; for scripts there are --once and --batch")
        terminal.wait_for("^ended with 1$")
    finally:
        terminal.close()


def test():
    if not shutil.which("tmux"):
        raise Skip("there is no tmux")
    with tempfile.TemporaryDirectory() as folder:
        service = start()
        try:
            wait_for_page(service.pid)
            unknown_terminal(folder, service)
            watch_one(folder, service)
        finally:
            service.kill()
            service.wait()
        call_sites(folder)
        choose_from_list(folder)


if __name__ == "__main__":
    harness.main(test)
