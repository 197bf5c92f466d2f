"""The page of poolmalloc serve in a real browser without a screen: serve_page_test.py TOOL LIBRARY."""

import html.parser
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect
from served import IDLE, python_on, redis_on, server, settled, wait_until_read

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Tables(html.parser.HTMLParser):
    """The tables by their ids, as rows of texts; and how many canvases there are."""

    def __init__(self):
        super().__init__()
        self.tables, self.canvases, self.body, self.rows, self.cell = {}, 0, {}, None, False

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.rows = self.tables.setdefault(attributes.get("id"), [])
        elif tag == "tr" and self.rows is not None:
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.cell = True
        elif tag == "canvas":
            self.canvases += 1
        elif tag == "body":
            self.body = attributes

    def handle_endtag(self, tag):
        if tag == "table":
            self.rows = None
        elif tag in ("td", "th"):
            self.cell = False

    def handle_data(self, data):
        if self.cell and self.rows:
            self.rows[-1][-1] += data


def bytes_text(value):
    unit = 0
    while value >= 1024 and unit < 5:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or value >= 100 else 1
    return f"{value:,.{digits}f} " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]


def colours_in(path):
    """The size of a PNG, and how many different pixels there are among every seventh of each row."""
    data = path.read_bytes()
    expect(data[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG")
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    expect(depth == 8 and kind in (2, 6), f"depth {depth}, colour type {kind}")
    packed, at = b"", 8
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    raw, step = zlib.decompress(packed), 3 if kind == 2 else 4
    before, found = bytearray(width * step), set()
    for y in range(height):
        start = y * (width * step + 1)
        line, line_filter = bytearray(raw[start + 1:start + 1 + width * step]), raw[start]
        if line_filter == 1:
            for i in range(step, len(line)):
                line[i] = (line[i] + line[i - step]) & 255
        elif line_filter == 2:
            line = bytearray((a + b) & 255 for a, b in zip(line, before))
        elif line_filter == 3:
            for i in range(len(line)):
                line[i] = (line[i] + ((line[i - step] if i >= step else 0) + before[i]) // 2) & 255
        elif line_filter == 4:
            for i in range(len(line)):
                a, b, c = (line[i - step] if i >= step else 0), before[i], (before[i - step] if i >= step else 0)
                pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                line[i] = (line[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255
        found.update(bytes(line[i:i + 3]) for i in range(0, len(line), 7 * step))
        before = line
    return width, height, found


def browse(browser, one, process, folder, *arguments):
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
               "--disable-dev-shm-usage", "--virtual-time-budget=5000", *arguments, f"http://{one.address}/#pid={process.pid}"]
    done = harness.run(command, harness.environment(HOME=folder), timeout=120)
    expect(done.returncode == 0, harness.describe(done))
    return done.stdout.decode()


def check_tables(text, one, process, redis):
    found = Tables()
    found.feed(text)
    expect(int(found.body.get("data-polls", 0)) >= 1, "the page never had an answer")
    expect(found.canvases == 5, f"{found.canvases} charts")
    rows = {row[1]: row for row in found.tables["processes"][1:] if len(row) > 4}
    detail = one.json(f"/api/process/{process.pid}")
    expect(detail["live_bytes"] == settled(TOOL, process.pid)["live_bytes"], "the API differs from stats")
    for pid, program in [(process.pid, detail["program"])] + ([(redis.pid, "redis-server")] if redis else []):
        expect(str(pid) in rows and rows[str(pid)][0] == program, f"no row for {program} ({pid}): {rows}")
    row = rows[str(process.pid)]
    want = [bytes_text(detail[name]) for name in ("resident_bytes", "live_bytes", "dirty_bytes", "released_bytes")]
    expect(row[2:6] == want and row[6] == detail["level_name"], f"{row}, not {want}")
    classes = {row[0]: row for row in found.tables["classes"][1:]}
    most = max(detail["statistics"]["classes"], key=lambda c: c["size"] * c["live_objects"])
    row = classes[f"{most['size']:,}"]
    want = [f"{most['live_objects']:,}", bytes_text(most["size"] * most["live_objects"])]
    expect(row[1:3] == want, f"{row}, not {want}")
    expect(classes["large"][2] == bytes_text(detail["statistics"]["live_large_bytes"]), f"{classes['large']}")
    # The oldest last, and none that did not happen; since then there may be more.
    shown = [row[1].split(":")[0] for row in reversed(found.tables["events"][1:])]
    happened = [event["kind"] for event in detail["events"]]
    expect(shown and shown == happened[:len(shown)], f"{shown} is not the beginning of {happened}")


def test():
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise harness.Skip("no chromium")
    with tempfile.TemporaryDirectory() as folder, python_on(LIBRARY, IDLE) as process, redis_on(LIBRARY) as redis:
        chosen = ["--pid", process.pid] + (["--pid", redis.pid] if redis else [])
        with server(TOOL, *chosen) as one:
            for each in filter(None, (process, redis)):
                wait_until_read(one, each)
            settled(TOOL, process.pid)
            picture = pathlib.Path(folder, "page.png")
            text = browse(browser, one, process, folder, "--window-size=900,1100", "--dump-dom", f"--screenshot={picture}")
            check_tables(text, one, process, redis)
            width, height, colours = colours_in(picture)
            expect((width, height) == (900, 1100), f"{width} x {height}")
            # The line of live memory and the mark of a calm process are drawn in these.
            for colour in (b"\xe0\x31\x70", b"\x37\xa3\x4a"):
                expect(colour in colours, f"nothing is drawn in #{colour.hex()}; {len(colours)} colours")


if __name__ == "__main__":
    harness.main(test)
