"""How many instructions malloc and free execute when all goes well, and where they write, against golden numbers.

Reads the disassembly of the library and follows each function from its entry to `ret`: conditional branches all lead to
cold code and are not taken, unconditional ones are followed. (Running it under a single-stepping debugger would abort the
restartable sequences for ever.) POOLMALLOC_CHECK=off executes the same instructions: what it switches off is a number that
they read.

On the way there may be no call, no stack, and no store but to the thread's rseq area (which sequence is under way) and to
the CPU's block.

Usage: hot_path.py LIBRARY COMPILER GOLDEN        COMPILER as in the golden file, such as gcc-12
"""

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)\s*([^#<]*)(?:<[^>]*>)?\s*(?:# [0-9a-f]+ <(.*)>)?")
LONGEST = 200  # a walk that has not ended by then has gone astray
READ_ONLY = ("cmp", "test", "lea", "nop", "prefetch", "bt")


def disassemble(library):
    """Address -> (mnemonic, operands, symbol that the operand names), and the address that follows each."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True).stdout
    code = {}
    for line in text.splitlines():
        found = LINE.match(line)
        if found:
            address, mnemonic, operands, symbol = found.groups()
            code[int(address, 16)] = (mnemonic, operands.strip(), symbol or "")
    addresses = sorted(code)
    return code, dict(zip(addresses, addresses[1:]))


def address_of(library, name):
    text = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        address, _, symbol = line.split()
        if symbol == name:
            return int(address, 16)
    raise harness.Failure(f"{library} exports no {name}")


def destination(operands):
    """The last operand; commas inside parentheses do not separate."""
    return re.split(r",(?![^(]*\))", operands)[-1].strip()


class HotPath:
    """What one function does on its way."""

    def __init__(self, name):
        self.name = name
        self.instructions = 0
        self.rseq_stores = 0
        self.block_stores = 0
        self.block = None  # the register that holds the CPU's block

    def note(self, address, mnemonic, operands, symbol):
        where = f"{self.name} at {address:#x}: {mnemonic} {operands}"
        self.instructions += 1
        harness.expect(not mnemonic.startswith(("call", "push", "pop", "enter")), f"{where}: a call or the stack")
        target = destination(operands)
        if "(" not in target:
            # The register may get a new meaning.
            if mnemonic.startswith("add") and "hot_blocks" in symbol:
                self.block = target
            elif target == self.block:
                self.block = None
            return
        if mnemonic.startswith(READ_ONLY):
            return
        if re.match(r"%fs:0x8\(%\w+\)$", target):
            self.rseq_stores += 1
        elif self.block and re.match(rf"(0x[0-9a-f]+)?\({self.block}[,)]", target):
            self.block_stores += 1
        else:
            raise harness.Failure(f"{where}: a store to somewhere else")


def walk(code, following, start, name):
    path = HotPath(name)
    address = start
    while path.instructions < LONGEST:
        mnemonic, operands, symbol = code[address]
        if mnemonic.startswith("jmp"):
            path.instructions += 1
            harness.expect(re.match(r"[0-9a-f]+$", operands), f"{name}: jumps to {operands}")
            address = int(operands, 16)
            continue
        path.note(address, mnemonic, operands, symbol)
        if mnemonic.startswith("ret"):
            return path
        address = following[address]
    raise harness.Failure(f"{name} does not end within {LONGEST} instructions")


def read_golden(path):
    """(compiler, function) -> (instructions, stores to the rseq area, stores to the block)."""
    numbers = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        fields = line.split("#")[0].split()
        if fields:
            numbers[fields[0], fields[1]] = tuple(map(int, fields[2:]))
    return numbers


def main():
    library, compiler, golden_file = sys.argv[1:]
    golden = read_golden(golden_file)
    if (compiler, "malloc") not in golden:
        raise harness.Skip(f"there are no golden numbers for {compiler}")
    code, following = disassemble(library)
    grown = []
    for name in ("malloc", "free"):
        path = walk(code, following, address_of(library, name), name)
        now = (path.instructions, path.rseq_stores, path.block_stores)
        print(f"{compiler} {name} {now[0]} {now[1]} {now[2]}")
        harness.expect(path.rseq_stores == 1, f"{name} announces {path.rseq_stores} sequences")
        if any(mine > allowed for mine, allowed in zip(now, golden[compiler, name])):
            grown.append(f"{name} grew from {golden[compiler, name]} to {now}")
    harness.expect(not grown, "; ".join(grown))


if __name__ == "__main__":
    harness.main(main)
