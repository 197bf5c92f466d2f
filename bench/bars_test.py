#!/usr/bin/env python3
"""The bars on rows made up: what counts against whom, and that a miss is a miss."""

import sys

sys.dont_write_bytecode = True

import bars  # noqa: E402
import report  # noqa: E402


class Program:
    group = "own"
    question = ""

    def __init__(self, name, linked=None):
        self.name = name
        self._linked = linked

    def built_in(self):
        return self._linked


def row(name, cpu, peak=None, numbers=None, linked=None):
    """cpu and peak: allocator -> value of all measures of that kind; numbers: allocator -> the program's own."""
    made = report.Row(Program(name, linked))
    for allocator, value in cpu.items():
        run = dict.fromkeys(report.MEASURES, value) | {"peak_kib": (peak or cpu)[allocator]}
        made.runs[allocator] = [run | {"numbers": (numbers or {}).get(allocator, {})}]
    return made


def results(rows, names):
    return {one["bar"]: one for one in bars.check(rows, names, None)}


def expect(good, what):
    if not good:
        sys.exit(f"bars_test: {what}")


def main():
    names = ["poolmalloc", "libc", "jemalloc", "tcmalloc", "mine"]
    rows = [
        row("a", {"poolmalloc": 1, "libc": 4, "jemalloc": 2, "tcmalloc": 8, "mine": 0.5}),
        # jemalloc is the best single peer although tcmalloc is best here; libc is not what this program is linked with.
        row("b", {"poolmalloc": 1, "libc": 0.1, "jemalloc": 2, "tcmalloc": 1, "mine": 0.5}, linked="jemalloc"),
        row("pair64", {"poolmalloc": 1, "libc": 2, "jemalloc": 2, "tcmalloc": 2, "mine": 0.5}),
    ]
    found = results(rows, names)
    best = found["cpu: geometric mean of all rows against the best single Debian peer"]
    expect(abs(best["value"] - 0.5) < 1e-9 and best["note"] == "jemalloc, 3 rows" and best["result"] == "PASS", best)
    worst = found["cpu: worst row against the best Debian peer on that row"]
    expect(worst["value"] == 1 and worst["note"] == "b, tcmalloc", worst)
    pair = found["cpu: pair64 against the best peer in the run"]
    expect(pair["value"] == 2 and pair["note"].startswith("mine") and pair["result"] == "MISS", pair)
    leanest = found["peak memory: geometric mean against the leanest single peer"]
    expect(leanest["note"] == "jemalloc, 3 rows", leanest)
    expect(abs(found["peak memory: geometric mean against libc"]["value"] - 8 ** -0.5) < 1e-9, "libc counted where linked")
    expect(found["resident with 1000 threads over 2, same live data"]["result"] == "not measured", "idle threads")

    rows = [
        row("idle_threads_2", {"poolmalloc": 1}, numbers={"poolmalloc": {"rss_kib": 100}}),
        row("idle_threads_1000", {"poolmalloc": 1}, numbers={"poolmalloc": {"rss_kib": 120}}),
        row("latency", {"poolmalloc": 1, "libc": 1, "mine": 1},
            numbers={name: {"malloc_p99.9_ns": value} for name, value in (("poolmalloc", 30), ("libc", 60), ("mine", 40))}),
    ]
    found = results(rows, names)
    idle = found["resident with 1000 threads over 2, same live data"]
    expect(idle["value"] == 1.2 and idle["result"] == "MISS", idle)
    tail = found["p99.9 of malloc, mixed server load, against the best peer in the run"]
    expect(tail["value"] == 0.75 and tail["note"] == "mine" and tail["result"] == "PASS", tail)
    # A row that one of us did not finish counts for neither.
    rows[0].failures["poolmalloc"] = "crashed"
    expect(results(rows, names)["resident with 1000 threads over 2, same live data"]["value"] is None, "a failed row")


if __name__ == "__main__":
    main()
