"""Finds the instructions of a library that lock a cache line: those with a lock prefix, and xchg with memory."""

import re
import subprocess

LINE = re.compile(r"^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\t(.*)$")
MEMORY = re.compile(r"(%[a-z]s:)?(-?0x[0-9a-f]+)?\((%\w+)?(?:,(%\w+))?(?:,(\d))?\)")


def is_locked(text):
    words = text.split()
    return "lock" in words[:3] or (any(word.startswith("xchg") for word in words[:2]) and "(" in text)


def describe(offset, code, text):
    """One line of the list that counters.cc reads:
    offset, length, where the distance to rip stands, base, index, scale, displacement, whether the address is known."""
    found = MEMORY.search(text)
    base = index = "-"
    scale, displacement, rip_at, known = 1, 0, -1, 0
    if found:
        segment, distance, base, index, scale = found.groups()
        base = base[1:] if base else "-"
        index = index[1:] if index else "-"
        scale = int(scale or 1)
        displacement = int(distance or "0", 16)
        known = 0 if segment else 1
        if base == "rip":
            rip_at = code.rfind(displacement.to_bytes(4, "little", signed=True))
            if rip_at < 2:
                raise RuntimeError(f"cannot find the distance in {code.hex()} ({text})")
    return f"{offset:x} {len(code)} {rip_at} {base} {index} {scale} {displacement} {known}"


def locked_instructions(library):
    text = subprocess.run(["objdump", "-d", "-w", "--insn-width=16", library], check=True, capture_output=True,
                          text=True).stdout
    lines = []
    for line in text.splitlines():
        # Quick to say no: there are hundreds of thousands.
        if "lock" in line or "xchg" in line:
            found = LINE.match(line)
            if found and is_locked(found[3]):
                lines.append(describe(int(found[1], 16), bytes.fromhex(found[2]), found[3].split("#")[0]))
    return lines
