"""What the tests of pages share: a browser without a screen, the tables it shows, and the colours of its picture."""

import html.parser
import pathlib
import shutil
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser():
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise harness.Skip("no chromium")
    return browser


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


def browse(browser, address, folder, *arguments):
    """The page after its scripts have run, if --dump-dom is among the arguments. `folder` takes the browser's files."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
               "--disable-dev-shm-usage", "--virtual-time-budget=5000", *arguments, address]
    done = harness.run(command, harness.environment(HOME=folder), timeout=120)
    expect(done.returncode == 0, harness.describe(done))
    return done.stdout.decode()
