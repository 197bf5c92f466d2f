"""What the runs under pressure say: survival, resident for live memory, cost; as text, CSV, JSON and one HTML page."""

import csv
import pathlib
import statistics

import report
from run import STEP
from scenarios import MB

MEDIANS = ("rss_per_live", "peak_bytes", "minor_faults", "user", "system", "unit_us", "units_per_second", "refused",
           "malloc_p50_ns", "malloc_p99_ns", "malloc_p99.9_ns", "touch_p50_ns", "touch_p99_ns", "touch_p99.9_ns")
CHART_POINTS = 300


class Row:
    """All runs of one scenario."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.runs = {}  # allocator name -> list of results
        self.failures = {}  # allocator name -> what went wrong, other than a kill

    def killed(self, allocator):
        return sum(one["killed_at"] is not None for one in self.runs.get(allocator, []))

    def medians(self, allocator):
        """Of the runs that survived; empty if none did."""
        survived = [one for one in self.runs.get(allocator, []) if one["killed_at"] is None]
        return {key: statistics.median(one[key] for one in survived) for key in MEDIANS} if survived else {}

    def kill_text(self, allocator):
        """"killed 2/3, after 9.1 s, 410 MB live"."""
        runs = self.runs[allocator]
        kills = [one for one in runs if one["killed_at"] is not None]
        after = statistics.median(one["killed_at"] for one in kills)
        live = statistics.median(one["live_at_end"] for one in kills)
        text = f"{len(kills)} of {len(runs)} killed, after {after:.1f} s, {live / MB:.0f} MB live"
        if leads := [one["lead"] for one in kills if "lead" in one]:
            text += f"; it was told of high pressure {statistics.median(leads):.1f} s before"
        return text

    def own(self, allocator):
        """What only this program reports, of the runs that survived: name -> median."""
        survived = [one["own"] for one in self.runs.get(allocator, []) if one["killed_at"] is None]
        return {key: statistics.median(one[key] for one in survived) for key in survived[0]} if survived else {}


def own_text(numbers):
    return ", ".join(f"{key.replace('_', ' ')} {report.number(value, 2)}" for key, value in numbers.items())


def row_text(row):
    scenario = row.scenario
    header = ["", "RSS/live", "peak MB", "faults", "user s", "system s", "unit us", "malloc p50 ns", "p99", "p99.9", "touched p99.9 us"]
    if closed := scenario.group == "throughput":
        header.append("units/s")
    lines = []
    for allocator in row.runs:
        if median := row.medians(allocator):
            line = [allocator, report.number(median["rss_per_live"]), f"{median['peak_bytes'] / MB:.0f}",
                    f"{median['minor_faults']:,.0f}", report.number(median["user"]), report.number(median["system"]),
                    report.number(median["unit_us"])]
            line += [f"{median[f'malloc_{part}_ns']:,.0f}" for part in ("p50", "p99", "p99.9")]
            line.append(report.number(median["touch_p99.9_ns"] / 1000, 0))
            lines.append(line + [f"{median['units_per_second']:,.0f}"] * closed)
    limit = f" (limit {scenario.limit / MB:.0f} MB)" if scenario.limit else ""
    text = [f"{scenario.name}: {scenario.question}{limit}"]
    if lines:
        text.append(report.table(header, lines))
    text += [f"  {allocator}: {own_text(row.own(allocator))}" for allocator in row.runs if row.own(allocator)]
    text += [f"  {allocator}: {row.kill_text(allocator)}" for allocator in row.runs if row.killed(allocator)]
    text += [f"  {allocator}: FAILED: {reason}" for allocator, reason in row.failures.items()]
    return "\n".join(text) + "\n"


def survival(rows, allocator):
    """(runs survived, runs) over rows in which live memory fits under a limit."""
    runs = [one for row in rows if row.scenario.limit and row.scenario.fits for one in row.runs.get(allocator, [])]
    return sum(one["killed_at"] is None for one in runs), len(runs)


def cell(row, allocator):
    """What stands in the summary for a scenario that has a row of its own."""
    if allocator in row.failures:
        return "failed"
    runs = row.runs.get(allocator)
    if not runs:
        return None
    if not row.scenario.fits:
        return f"{100 * statistics.median(one['live_peak'] for one in runs) / row.scenario.limit:.0f} %"
    if killed := row.killed(allocator):
        return f"{killed}/{len(runs)} killed"
    return report.number(row.medians(allocator)["rss_per_live"])


def summary_text(rows, allocators):
    own = [row for row in rows if row.scenario.group in ("limit", "curve")]
    text = []
    shown = [name for name in allocators if any(name in row.runs or name in row.failures for row in own)]
    if own:
        text.append("RSS/live of the runs that survived; or how many were killed; or, where live memory itself grows "
                    "beyond the limit,\nthe part of the limit that was live before the kill (there, more is better)")
        text.append(report.table([""] + shown, [[row.scenario.name] + [cell(row, name) for name in shown] for row in own]))
    overload = [row for row in rows if row.scenario.group == "overload"]
    if overload:
        lines = []
        for name in allocators:
            survived, runs = survival(overload, name)
            if runs:
                lines.append([name, survived, runs, f"{100 * survived / runs:.0f} %"])
        text.append("survival of random overload in which live memory fits\n" +
                    report.table(["", "survived", "of", ""], lines))
    return "\n".join(text)


def chosen_run(row, allocator):
    """The run that a chart shows: one that was killed if most were, else the one with the median RSS/live."""
    runs = row.runs[allocator]
    killed = [one for one in runs if one["killed_at"] is not None]
    among = killed if len(killed) * 2 > len(runs) else [one for one in runs if one["killed_at"] is None]
    return sorted(among, key=lambda one: one["rss_per_live"])[len(among) // 2]


def chart(row):
    shown = {allocator: chosen_run(row, allocator) for allocator, runs in row.runs.items() if runs}
    longest = max((len(one["resident"]) for one in shown.values()), default=0)
    every = longest // CHART_POINTS + 1
    live = max((one["live"] for one in shown.values()), key=len, default=[])

    def thin(values):
        return [round(value / MB, 1) for value in values[::every]]

    return {"step": STEP * every, "live": thin(live), "resident": {name: thin(one["resident"]) for name, one in shown.items()},
            "killed": {name: [one["killed_at"], one["resident"][-1] / MB] for name, one in shown.items()
                       if one["killed_at"] is not None and one["resident"]}}


def document(rows, allocators, about, left_out, reason):
    return {
        "about": about,
        "allocators": allocators,
        "left_out": left_out,
        "why_left_out": reason,
        "survival": {name: survival([row for row in rows if row.scenario.group == "overload"], name) for name in allocators},
        "rows": [{
            "name": row.scenario.name, "group": row.scenario.group, "question": row.scenario.question,
            "seconds": row.scenario.seconds, "limit": row.scenario.limit, "fits": row.scenario.fits,
            "killed": {name: row.killed(name) for name in row.runs},
            "cells": {name: cell(row, name) for name in allocators},
            "medians": {name: row.medians(name) for name in row.runs},
            "own_texts": {name: own_text(row.own(name)) for name in row.runs if row.own(name)},
            "kill_texts": {name: row.kill_text(name) for name in row.runs if row.killed(name)},
            "failures": row.failures,
            "runs": row.runs,
        } for row in rows],
        "charts": {row.scenario.name: chart(row) for row in rows},
    }


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["scenario", "group", "allocator", "run", "killed_at", "limit_met"] + list(MEDIANS) + ["failure"])
        for row in rows:
            for allocator, runs in row.runs.items():
                for i, one in enumerate(runs):
                    out.writerow([row.scenario.name, row.scenario.group, allocator, i + 1, one["killed_at"],
                                  one.get("limit_met", "")] + [one.get(key, "") for key in MEDIANS] + [""])
            for allocator, reason in row.failures.items():
                out.writerow([row.scenario.name, row.scenario.group, allocator, "", "", ""] + [""] * len(MEDIANS) + [reason])


def write_html(path, data, uplot):
    rows = [{**row, "runs": {name: len(runs) for name, runs in row["runs"].items()}} for row in data["rows"]]
    report.fill_page(pathlib.Path(__file__).parent / "page.html", path, {**data, "rows": rows}, uplot)
