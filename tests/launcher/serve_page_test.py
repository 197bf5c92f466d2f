"""The page of poolmalloc serve in a real browser without a screen: serve_page_test.py TOOL LIBRARY."""

import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness
from harness import expect
from browser import Tables, browse, bytes_text, colours_in, find_browser
from served import IDLE, python_on, redis_on, server, settled, wait_until_read

TOOL, LIBRARY = (os.path.realpath(path) for path in sys.argv[1:3])


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
    browser = find_browser()
    with tempfile.TemporaryDirectory() as folder, python_on(LIBRARY, IDLE) as process, redis_on(LIBRARY) as redis:
        chosen = ["--pid", process.pid] + (["--pid", redis.pid] if redis else [])
        with server(TOOL, *chosen) as one:
            for each in filter(None, (process, redis)):
                wait_until_read(one, each)
            settled(TOOL, process.pid)
            picture = pathlib.Path(folder, "page.png")
            text = browse(browser, f"http://{one.address}/#pid={process.pid}", folder, "--window-size=900,1100", "--dump-dom", f"--screenshot={picture}")
            check_tables(text, one, process, redis)
            width, height, colours = colours_in(picture)
            expect((width, height) == (900, 1100), f"{width} x {height}")
            # The line of live memory and the mark of a calm process are drawn in these.
            for colour in (b"\xe0\x31\x70", b"\x37\xa3\x4a"):
                expect(colour in colours, f"nothing is drawn in #{colour.hex()}; {len(colours)} colours")


if __name__ == "__main__":
    harness.main(test)
