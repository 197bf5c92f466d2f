"""What a whole run has to show: the project's bars, each with PASS or MISS, from the medians of that run.

A Debian peer is libc or an allocator that Debian ships; allocators given by path count where "every peer in the run" is
meant. A row counts against a peer if both finished it.
"""

import importlib
import pathlib
import shutil
import sys

import allocators
import report

OURS = "poolmalloc"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def bar(text, value, limit, note=""):
    result = "not measured" if value is None else "PASS" if value <= limit else "MISS"
    return {"bar": text, "limit": limit, "value": value, "result": result, "note": note}


def against(rows, peer, measure):
    """Row name -> our median over the peer's, where both have one. A program's own allocator is not libc."""
    found = {}
    for row in rows:
        medians = row.medians()
        if OURS in medians and peer in medians and not (peer == "libc" and row.built_in):
            found[row.name] = max(medians[OURS][measure], 1e-9) / max(medians[peer][measure], 1e-9)
    return found


def against_best_single(text, rows, peers, measure, limit):
    """The one peer that we lead by least over all rows."""
    means = [(report.geometric_mean(list(found.values())), peer, len(found)) for peer in peers
             if (found := against(rows, peer, measure))]
    value, peer, count = max(means, default=(None, "", 0))
    return bar(text, value, limit, f"{peer}, {count} rows" if peer else "")


def against_best_on_row(rows, peers, measure):
    """Row name -> our median over that of the best peer there, and who that is."""
    found = {}
    for peer in peers:
        for name, ratio in against(rows, peer, measure).items():
            found[name] = max(found.get(name, (0, "")), (ratio, peer))
    return found


def own_number(rows, row_name, allocator, key):
    for row in rows:
        if row.name == row_name:
            return row.medians().get(allocator, {}).get("numbers", {}).get(key)
    return None


def hot_instructions(library):
    """Function -> instructions, as tests/golden/hot_path.py counts them; nothing where it cannot."""
    if library is None or shutil.which("objdump") is None:
        return {}
    sys.path.insert(0, str(REPOSITORY / "tests/golden"))
    hot_path = importlib.import_module("hot_path")
    try:
        code, following = hot_path.disassemble(library)
        return {name: hot_path.walk(code, following, hot_path.address_of(library, name), name).instructions
                for name in ("malloc", "free")}
    except (hot_path.harness.Failure, KeyError):
        return {}


def check(rows, names, library):
    """All bars, in the order of the issue that set them."""
    peers = [name for name in names if name != OURS]
    debian = [name for name in peers if name == "libc" or name in allocators.PEERS]
    bars = []
    for measure in ("cpu", "wall"):
        bars.append(against_best_single(f"{measure}: geometric mean of all rows against the best single Debian peer",
                                        rows, debian, measure, 0.90))
    for measure in ("cpu", "wall"):
        on_row = against_best_on_row(rows, debian, measure)
        worst = max(on_row, key=on_row.get, default=None)
        ratio, peer = on_row.get(worst, (None, ""))
        bars.append(bar(f"{measure}: worst row against the best Debian peer on that row", ratio, 1.05,
                        f"{worst}, {peer}" if worst else ""))
    best = against_best_on_row(rows, peers, "cpu")
    for name, limit in (("pair64", 1.0), ("batch_mixed", 1.0), ("replace_100k", 0.6)):
        ratio, peer = best.get(name, (None, ""))
        ticks = own_number(rows, name, OURS, "ticks_per_op")
        bars.append(bar(f"cpu: {name} against the best peer in the run", ratio, limit,
                        f"{peer}, {ticks:.1f} ticks a pair" if ticks else peer))
    bars.append(against_best_single("peak memory: geometric mean against libc", rows, ["libc"] if "libc" in names else [],
                                    "peak_kib", 0.95))
    bars.append(against_best_single("peak memory: geometric mean against the leanest single peer", rows,
                                    [name for name in debian if name != "libc"], "peak_kib", 1.00))
    many, few = (own_number(rows, f"idle_threads_{n}", OURS, "rss_kib") for n in (1000, 2))
    bars.append(bar("resident with 1000 threads over 2, same live data", many / few if many and few else None, 1.15))
    tails = {name: own_number(rows, "latency", name, "malloc_p99.9_ns") for name in names}
    others = {name: value for name, value in tails.items() if name != OURS and value}
    leader = min(others, key=others.get, default=None)
    bars.append(bar("p99.9 of malloc, mixed server load, against the best peer in the run",
                    tails[OURS] / others[leader] if leader and tails.get(OURS) else None, 1.0, leader or ""))
    hot = hot_instructions(library)
    bars.append(bar("instructions of a hot malloc", hot.get("malloc"), 22))
    bars.append(bar("instructions of a hot free", hot.get("free"), 24))
    return bars


def text(bars, smoke=False):
    lines = [[one["bar"], report.number(one["value"]), f"<= {one['limit']}", one["result"]] for one in bars]
    notes = [f"  {one['bar']}: {one['note']}" for one in bars if one["note"] and one["value"] is not None]
    return "\n".join(["the bars" + (" (a smoke run is too short to mean anything)" if smoke else ""), report.table(["", "value", "bar", ""], lines)] + notes)
