"""Writes a copy of a source file with one deliberate fault in it: every `old` becomes `new`.

A text that is not there is an error, so that a fault cannot quietly turn into no fault when the source changes.

Usage: mutate.py SOURCE TARGET OLD NEW
"""

import sys
from pathlib import Path

source, target, old, new = sys.argv[1:]
text = Path(source).read_text(encoding="utf-8")
if old not in text:
    sys.exit(f"{source} no longer contains {old!r}")
Path(target).write_text(text.replace(old, new), encoding="utf-8")
