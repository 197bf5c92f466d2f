"""Which allocators take part in a measurement, and where their libraries are."""

import os
import pathlib
import shutil
import subprocess
import sys

from measure import Allocator

PEERS = {  # name: (library, Debian package)
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    "tbbmalloc": ("libtbbmalloc_proxy.so.2", "libtbbmalloc2"),
}


def add_arguments(parser, repository):
    """The options that all kinds of measurement have."""
    parser.add_argument("--build-dir", type=pathlib.Path, default=repository / "build/release", metavar="DIR",
                        help="where meson has built (default: build/release; made when missing)")
    parser.add_argument("--library", type=pathlib.Path, metavar="FILE",
                        help="the libpoolmalloc.so to measure (default: the one in the build directory)")
    parser.add_argument("--allocator", action="append", default=[], metavar="NAME=FILE[,VAR=VALUE...]",
                        help="one more allocator, with environment variables of its own; can be repeated")
    parser.add_argument("--with", dest="chosen", metavar="NAME,...",
                        help="only these allocators take part, libc by that name")
    parser.add_argument("--no-install", action="store_true",
                        help="leave out allocators that are missing, install nothing")


def note(text):
    print(text, file=sys.stderr, flush=True)


def stop(text):
    sys.exit(f"bench: {text}")


def install(packages):
    """Installs Debian packages; says so and goes on when that is not possible."""
    packages = sorted(set(packages))
    root = [] if os.geteuid() == 0 else ["sudo"]
    if shutil.which("apt-get") is None or (root and shutil.which("sudo") is None):
        note(f"bench: cannot install {' '.join(packages)} here (needs apt-get, as root or by sudo)")
        return
    note(f"bench: installing {' '.join(packages)}")
    apt = root + ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", "--no-install-recommends"]
    done = subprocess.run(apt + packages, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        note(f"bench: apt-get install failed: {done.stderr.strip()}")


def find_library(directory):
    found = sorted(directory.rglob("libpoolmalloc.so"))
    return found[0] if found else None


def find_peer(library):
    """The full path of a library the loader knows, or None."""
    tool = shutil.which("ldconfig") or "/sbin/ldconfig"
    for line in subprocess.run([tool, "-p"], capture_output=True, text=True).stdout.splitlines():
        if line.split()[:1] == [library]:
            return pathlib.Path(line.split("=>")[1].strip())
    return None


def extra_allocator(text):
    name, _, rest = text.partition("=")
    library, *variables = rest.split(",")
    path = pathlib.Path(library).expanduser().resolve()
    if not name or not path.is_file() or not all("=" in variable for variable in variables):
        stop(f"--allocator {text}: want NAME=FILE[,VAR=VALUE...] with a file that exists")
    return Allocator(name, path, dict(variable.split("=", 1) for variable in variables))


def choose_allocators(options, tuned=None):
    """`tuned`: names for more of them, each an allocator with settings of its own: name -> (allocator, environment)."""
    tuned = tuned or {}
    chosen = options.chosen.split(",") if options.chosen else None
    extras = [extra_allocator(text) for text in options.allocator]
    known = ["poolmalloc", "libc", *PEERS, *tuned, *(extra.name for extra in extras)]
    if chosen and (strange := set(chosen) - set(known)):
        stop(f"--with: no allocator is named {', '.join(sorted(strange))}; there are {', '.join(known)}")
    wanted = chosen or (["poolmalloc", "libc"] if options.smoke else known)
    bases = {*wanted, *(tuned[name][0] for name in wanted if name in tuned)}
    found = []
    if "poolmalloc" in bases:
        library = options.library or find_library(options.build_dir)
        if library is None or not library.is_file():
            stop(f"no libpoolmalloc.so in {options.build_dir}" if options.library is None else f"no library {library}")
        found.append(Allocator("poolmalloc", library.resolve()))
    if "libc" in bases:
        found.append(Allocator("libc"))
    peers = [name for name in PEERS if name in bases]
    if missing := [PEERS[name][1] for name in peers if find_peer(PEERS[name][0]) is None]:
        if not options.no_install:
            install(missing)
    for name in peers:
        library = find_peer(PEERS[name][0])
        if library is None:
            note(f"bench: {name} left out: {PEERS[name][1]} is not installed")
        else:
            found.append(Allocator(name, library))
    libraries = {allocator.name: allocator.library for allocator in found}
    variants = [Allocator(name, libraries[base], settings) for name, (base, settings) in tuned.items() if base in libraries]
    return [allocator for allocator in found + variants + extras if allocator.name in wanted]
