#!/usr/bin/env python3
"""Writes a C++ file with the contents of other files: embed.py OUTPUT NAME=FILE...

Each becomes a zero-terminated array pm::NAME, declared in embedded.h.
"""

import sys

PIECE = 8000  # compilers need not take longer literals


def literal(text):
    pieces = [text[i:i + PIECE] for i in range(0, len(text), PIECE)] or [""]
    return "\n".join(f'R"~~~({piece})~~~"' for piece in pieces)


def main():
    output, *entries = sys.argv[1:]
    parts = ['#include "preload/launcher/embedded.h"\n\nnamespace pm {\n']
    for entry in entries:
        name, _, path = entry.partition("=")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if ')~~~"' in text or "\0" in text:
            sys.exit(f"embed.py: {path} cannot stand in a raw string")
        parts.append(f"\nconst char {name}[] =\n{literal(text)};\n")
    parts.append("\n}  // namespace pm\n")
    with open(output, "w", encoding="utf-8") as file:
        file.write("".join(parts))


if __name__ == "__main__":
    main()
