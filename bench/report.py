"""What the measurements say: medians, ratios and geometric means, as text, CSV, JSON and one HTML page."""

import csv
import html
import json
import math
import pathlib
import statistics

MEASURES = ["wall", "cpu", "user", "system", "peak_kib", "average_kib", "minor_faults", "major_faults"]
RATIOS = ["cpu", "wall", "peak_kib", "average_kib"]


class Row:
    """All measurements of one job."""

    def __init__(self, job):
        self.name = job.name
        self.group = job.group
        self.question = job.question
        self.built_in = job.built_in()
        self.runs = {}  # allocator name -> list of results
        self.failures = {}  # allocator name -> what went wrong

    def medians(self):
        """allocator -> measure -> median, of the allocators that never failed; and the program's own numbers."""
        found = {}
        for allocator, runs in self.runs.items():
            if runs and allocator not in self.failures:
                found[allocator] = {key: statistics.median(run[key] for run in runs) for key in MEASURES}
                found[allocator]["numbers"] = {key: statistics.median(run["numbers"][key] for run in runs)
                                               for key, value in runs[0]["numbers"].items()
                                               if isinstance(value, (int, float))}
        return found

    def label(self, allocator):
        """The run without a library shows libc, unless the program brings an allocator of its own."""
        return f"{self.built_in}, linked" if allocator == "libc" and self.built_in else allocator


def ratios(row, measure):
    medians = row.medians()
    values = {allocator: max(median[measure], 1e-9) for allocator, median in medians.items()}
    best = min(values.values(), default=1)
    return {allocator: value / best for allocator, value in values.items()}


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def summary(rows, allocators):
    """Per allocator the geometric means over the rows it finished. A linked allocator stands in no libc statistics."""
    lines = []
    for allocator in allocators:
        own = [row for row in rows if not (allocator == "libc" and row.built_in)]
        line = {"allocator": allocator, "rows": 0, "failures": sum(allocator in row.failures for row in rows)}
        for measure in RATIOS:
            to_best = [(ratios(row, measure)[allocator], row.name) for row in own if allocator in ratios(row, measure)]
            line["rows"] = len(to_best)
            line[measure] = geometric_mean([ratio for ratio, _ in to_best])
            line[f"{measure}_worst"], line[f"{measure}_worst_row"] = max(to_best, default=(None, None))
            to_libc = []
            for row in own:
                found = ratios(row, measure)
                if not row.built_in and allocator in found and "libc" in found:
                    to_libc.append(found[allocator] / found["libc"])
            line[f"{measure}_to_libc"] = geometric_mean(to_libc)
        lines.append(line)
    return sorted(lines, key=lambda line: line["cpu"] or math.inf)


def table(header, lines):
    """Text in columns: the first to the left, the others to the right."""
    lines = [["-" if cell is None else str(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in [header] + lines) for i in range(len(header))]
    return "\n".join("  " + "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                                      for i, (cell, width) in enumerate(zip(line, widths))).rstrip()
                     for line in [header] + lines)


def number(value, digits=2):
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def row_text(row, allocators):
    medians = row.medians()
    cpu, peak, wall = ratios(row, "cpu"), ratios(row, "peak_kib"), ratios(row, "wall")
    per_op = any("ns_per_op" in median["numbers"] for median in medians.values())
    header = ["", "CPU s", "x best", "wall s", "x best", "peak MiB", "x best", "avg MiB", "minor faults"]
    header += ["ns/op"] * per_op
    lines = []
    for allocator in sorted((a for a in allocators if a in medians), key=cpu.get):
        median = medians[allocator]
        line = [row.label(allocator), number(median["cpu"], 3), number(cpu[allocator]), number(median["wall"], 3),
                number(wall[allocator]), number(median["peak_kib"] / 1024, 1), number(peak[allocator]),
                number(median["average_kib"] / 1024, 1), f"{median['minor_faults']:,.0f}"]
        lines.append(line + [number(median["numbers"].get("ns_per_op"))] * per_op)
    text = [f"{row.name}: {row.question}"]
    if lines:
        text.append(table(header, lines))
    if extras := extra_numbers(medians):
        shown = [a for a in allocators if a in medians]
        text.append(table([""] + [row.label(a) for a in shown],
                          [[key] + [number(medians[a]["numbers"].get(key), 0) for a in shown] for key in extras]))
    text += [f"  {row.label(allocator)}: FAILED: {reason}" for allocator, reason in row.failures.items()]
    return "\n".join(text) + "\n"


def latency_text(row, allocators):
    """What the calls took in nanoseconds; the median of the runs' quantiles, and of their worst."""
    medians = row.medians()
    columns = ["p50", "p90", "p99", "p99.9", "p99.99", "worst"]
    lines = [[f"{row.label(allocator)} {call}"] +
             [number(medians[allocator]["numbers"].get(f"{call}_{column}_ns"), 0) for column in columns]
             for call in ("malloc", "free") for allocator in allocators if allocator in medians]
    text = [f"{row.name}: {row.question}", table(["ns"] + columns, lines)] if lines else [row.name]
    text += [f"  {row.label(allocator)}: FAILED: {reason}" for allocator, reason in row.failures.items()]
    return "\n".join(text) + "\n"


def extra_numbers(medians):
    """The names of what a program reports beyond its speed: resident memory at a certain point, latencies."""
    names = dict.fromkeys(key for median in medians.values() for key in median["numbers"])
    return [key for key in names if key.endswith(("_kib", "_ns"))]


def summary_text(rows, allocators):
    lines = []
    for line in summary(rows, allocators):
        worst = f"{number(line['cpu_worst'])} {line['cpu_worst_row']}" if line["cpu_worst"] else "-"
        lines.append([line["allocator"], line["rows"]] + [number(line[measure]) for measure in RATIOS] +
                     [number(line["cpu_to_libc"]), number(line["peak_kib_to_libc"]), worst, line["failures"]])
    header = ["", "rows", "CPU", "wall", "peak", "avg RSS", "CPU/libc", "peak/libc", "worst CPU row", "failed"]
    return "geometric means of the ratio to the best allocator of each row (1.00 is the best on every row)\n" + \
        table(header, lines)


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["workload", "group", "allocator", "run"] + MEASURES + ["ns_per_op", "failure"])
        for row in rows:
            for allocator, runs in row.runs.items():
                for i, run in enumerate(runs):
                    out.writerow([row.name, row.group, row.label(allocator), i + 1] + [run[key] for key in MEASURES] +
                                 [run["numbers"].get("ns_per_op", ""), ""])
            for allocator, reason in row.failures.items():
                out.writerow([row.name, row.group, row.label(allocator), ""] + [""] * (len(MEASURES) + 1) + [reason])


def document(rows, skipped, allocators, about):
    """Everything, as plain data: the JSON output, and what the page is drawn from."""
    return {
        "about": about,
        "allocators": allocators,
        "summary": summary(rows, allocators),
        "skipped": skipped,
        "rows": [{
            "name": row.name, "group": row.group, "question": row.question, "built_in": row.built_in,
            "labels": {allocator: row.label(allocator) for allocator in row.runs},
            "medians": row.medians(),
            "ratios": {measure: ratios(row, measure) for measure in RATIOS},
            "extras": extra_numbers(row.medians()),
            "failures": row.failures,
            "runs": row.runs,
        } for row in rows],
    }


def write_json(path, data):
    pathlib.Path(path).write_text(json.dumps(data, indent=1) + "\n")


def read_uplot():
    """The chart library's script, style and licence, which the command's own page is made of too."""
    folder = pathlib.Path(__file__).parent.parent / "preload/launcher/web/uplot"
    return {name: (folder / name).read_text() for name in ("uPlot.iife.min.js", "uPlot.min.css", "LICENSE")}


def memory_over_time(runs_by_allocator):
    """Per allocator the samples of its median run, thinned alike so that a chart has at most some 300 points."""
    chosen = {}
    for allocator, runs in runs_by_allocator.items():
        if runs:
            chosen[allocator] = sorted(runs, key=lambda run: run["cpu"])[len(runs) // 2]
    longest = max((len(run["samples_kib"]) for run in chosen.values()), default=0)
    step = longest // 300 + 1
    return {"step_ms": step * next((run["sample_ms"] for run in chosen.values()), 0),
            "kib": {allocator: run["samples_kib"][::step] for allocator, run in chosen.items()}}


def fill_page(template, path, data, uplot):
    """Writes a page that holds the chart library and the data."""
    page = template.read_text()
    for mark, text in {"@TITLE@": html.escape(data["about"]["title"]),
                       "@UPLOT_LICENCE@": uplot["LICENSE"].replace("--", "- -"),
                       "@UPLOT_STYLE@": uplot["uPlot.min.css"], "@UPLOT_SCRIPT@": uplot["uPlot.iife.min.js"],
                       "@DATA@": json.dumps(data).replace("</", "<\\/")}.items():
        page = page.replace(mark, text)
    pathlib.Path(path).write_text(page)


def write_html(path, data, uplot):
    rows = [{**row, "memory": memory_over_time(row["runs"]), "runs": {a: len(runs) for a, runs in row["runs"].items()}}
            for row in data["rows"]]
    fill_page(pathlib.Path(__file__).parent / "page.html", path, {**data, "rows": rows}, uplot)
