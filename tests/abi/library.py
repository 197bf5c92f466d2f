"""What the library is made of, read with readelf: what it needs, what it exports, its TLS and its segments."""

import re
import subprocess
import sys

MALLOC_ABI = set("""
malloc free calloc realloc reallocarray aligned_alloc memalign posix_memalign valloc pvalloc malloc_usable_size
free_sized free_aligned_sized cfree malloc_good_size
malloc_trim mallinfo mallinfo2 malloc_info malloc_stats mallopt dlopen pthread_create thrd_create fork vfork daemon forkpty unshare
setns
__libc_malloc __libc_free __libc_calloc __libc_realloc __libc_memalign __libc_valloc __libc_pvalloc
""".split())
# Names that some version of glibc has or had; a library may define them too.
OPTIONAL = {"__libc_reallocarray", "__libc_mallinfo", "__libc_mallopt", "__posix_memalign"}

# Itanium names: operator new and delete, single and array, with nothrow, alignment and size.
OPERATOR = re.compile(r"_Zn[wa]m(St11align_val_t)?(RKSt9nothrow_t)?|_Zd[la]Pv(m)?(St11align_val_t)?(RKSt9nothrow_t)?")
OPERATOR_COUNT = 20

NEEDED = re.compile(r"libc\.so\.6|ld-linux[-\w]*\.so\.\d")
TLS_LIMIT = 64


def readelf(option, library):
    return subprocess.run(["readelf", "-W", option, library], check=True, capture_output=True, text=True).stdout


def problems(library):
    dynamic = readelf("-d", library)
    for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic):
        if not NEEDED.fullmatch(name):
            yield f"needs {name}"
    if "(TEXTREL)" in dynamic:
        yield "has text relocations"
    if not re.search(r"FLAGS_1.*NODELETE", dynamic):
        yield "can be unloaded: -z nodelete is missing"

    segments = re.findall(r"^\s+([A-Z_]+)\s+0x\w+ 0x\w+ 0x\w+ 0x\w+ 0x(\w+) ([RWE ]{3})", readelf("-l", library), re.M)
    if not any(kind == "LOAD" for kind, _, _ in segments):
        yield "readelf shows no segments"
    for kind, size, flags in segments:
        if kind == "TLS" and int(size, 16) > TLS_LIMIT:
            yield f"TLS segment of {int(size, 16)} bytes"
        if "W" in flags and "E" in flags:
            yield f"{kind} segment is writable and executable"

    exported = set()
    for name in dynamic_symbols(library):
        exported.add(name)
        if not (name in MALLOC_ABI | OPTIONAL or OPERATOR.fullmatch(name) or re.fullmatch(r"pm_\w+", name)):
            yield f"exports {name}"
    for name in sorted(MALLOC_ABI - exported):
        yield f"does not export {name}"
    operators = sum(1 for name in exported if OPERATOR.fullmatch(name))
    if operators != OPERATOR_COUNT:
        yield f"exports {operators} operators new and delete, not {OPERATOR_COUNT}"


def dynamic_symbols(library):
    """The name of every symbol that the library defines for others."""
    row = re.compile(r"^\s*\d+: \w+\s+\w+ \w+\s+(?:GLOBAL|WEAK|UNIQUE)\s+\w+\s+(\w+) (\S+)", re.M)
    for section, name in row.findall(readelf("--dyn-syms", library)):
        # The version script's own name is an absolute symbol, which no program can call.
        if section not in ("UND", "ABS"):
            yield name.split("@")[0]


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(f"{sys.argv[1]} {problem}")
    sys.exit(1 if found else 0)


main()
