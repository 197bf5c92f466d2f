"""The real programs. A case does the same work each time it is called and leaves all its results in its box."""

import pathlib
import shutil
import signal
import sys
import time

import sources
from box import needs
from harness import Skip, expect, run

INPUTS = pathlib.Path(__file__).parent / "inputs"



def bash(box):
    needs("bash")
    box.run("bash", INPUTS / "script.sh", 300 if box.short else 3000)


def coreutils(box):
    box.write("words", sources.words(20000 if box.short else 400000))
    box.run("sort", "--parallel=4", "-o", "sorted", "words")
    box.run("sort", "-k3,3n", "-k1,1r", "-u", "-S", "4M", "-T", ".", "-o", "by_number", "words")
    for pipeline in (
        "cut -d' ' -f3 words | sort | uniq -c | sort -rn | head -50",
        "tr a-j k-t < words | fold -w 30 | tac | nl | tail -n 1000 | md5sum",
        "join -j 1 sorted sorted | wc",
        "comm -12 sorted sorted | cksum",
        "split -l 5000 words part. && wc -c part.*",
        "grep -cE '(a|b)+ ?c*' words",
        "sed -E 's/([0-9]+) ([a-z]+)/\\2 \\1/' words | sha256sum",
        "awk '{ count[$3]++ } END { for (key in count) print key, count[key] }' words | sort",
        "gzip -6nc words > words.gz && xz -T2 -0c words > words.xz",
        "tar --sort=name --mtime=@0 -cf parts.tar part.*",
        "diff sorted by_number > patch; ls -R | head -100",
        "factor 1234567890123",
    ):
        box.run("sh", "-c", pipeline)


def perl(box):
    needs("perl")
    box.run("perl", INPUTS / "script.pl", 2000 if box.short else 60000, PERL_HASH_SEED="0")


def python(box):
    box.run(sys.executable, "-B", INPUTS / "script.py", "1" if box.short else "6", PYTHONHASHSEED="0")


def python_suite(box):
    """Part of Python's own tests, with malloc for everything, not its own small-object allocator."""
    names = ["test_dict", "test_array", "test_struct", "test_zlib"]
    if not box.short:
        names += ["test_json", "test_list", "test_set", "test_bytes", "test_re", "test_heapq", "test_deque",
                  "test_generators", "test_weakref", "test_ctypes"]
    present = run([sys.executable, "-c", "import test.test_json"], box.env)
    if present.returncode != 0:
        raise Skip("Python's own tests are not installed")
    # The order of the lines is that of the tests; only the times and addresses differ.
    box.run(sys.executable, "-B", "-m", "unittest", *(f"test.{name}" for name in names), timeout=600,
            replace=[(rb"in \d+\.\d+s", b"in TIME"), (rb"0x[0-9a-f]+", b"ADDRESS")],
            PYTHONHASHSEED="0", PYTHONMALLOC="malloc")


def git(box):
    needs("git")
    settings = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    for person in ("AUTHOR", "COMMITTER"):
        for name, value in (("NAME", "a"), ("EMAIL", "a@b"), ("DATE", "2020-01-01T00:00:00Z")):
            settings[f"GIT_{person}_{name}"] = value
    box.run("git", "-c", "init.defaultBranch=main", "init", "-q", "--template=", "repo", **settings)
    for commit in range(4 if box.short else 30):
        for number in range(20):
            box.write(f"repo/folder{number % 5}/file{number}", sources.words(50 + number + commit * 7))
        box.run("git", "-C", "repo", "add", "-A", **settings)
        box.run("git", "-C", "repo", "commit", "-q", "-m", f"commit {commit}", **settings)
    box.run("git", "-C", "repo", "log", "--stat", "-p", "--all", **settings)
    # With several threads the deltas depend on how the work was divided: that pack is not compared.
    box.run("git", "-C", "repo", "-c", "pack.threads=4", "repack", "-adfq", "--depth=50", "--window=50", **settings)
    box.run("git", "-C", "repo", "-c", "pack.threads=1", "repack", "-adfq", "--depth=50", "--window=50", **settings)
    box.run("git", "-C", "repo", "fsck", "--full", "--strict", **settings)
    box.run("git", "-C", "repo", "blame", "folder0/file0", **settings)
    box.run("git", "clone", "-q", "--template=", "--no-hardlinks", "repo", "copy", **settings)
    box.run("git", "-C", "copy", "grep", "-c", "line 13", **settings)
    # The index holds times and inode numbers.
    box.forget("*/.git/index", "*/.git/logs")


def sqlite3(box):
    needs("sqlite3")
    rows = 5000 if box.short else 150000
    box.run("sqlite3", "data.db", stdin=(INPUTS / "items.sql").read_text().replace("@ROWS@", str(rows)).encode())


def gcc(box):
    needs("gcc")
    box.write("large.c", sources.c_program(40 if box.short else 700))
    box.run("gcc", "-c", "-O2", "-g", "large.c", "-o", "large.o", timeout=600)
    box.run("gcc", "-S", "-O1", "large.c", "-o", "large.s", timeout=600)
    # Only the linker's result: the sections are in the object file already.
    box.run("gcc", "large.o", "-Wl,--build-id=none", "-o", "large")
    box.run("./large")


def gxx(box):
    needs("g++")
    box.write("large.cc", sources.cxx_program(2 if box.short else 12))
    box.run("g++", "-std=c++20", "-O1" if box.short else "-O2", "-c", "large.cc", "-o", "large.o", timeout=900)
    box.run("g++", "large.o", "-Wl,--build-id=none", "-o", "large")
    box.run("./large")


def clang(box):
    needs("clang++")
    box.write("large.cc", sources.cxx_program(2 if box.short else 5))
    box.run("clang++", "-std=c++20", "-O1", "-c", "large.cc", "-o", "large.o", timeout=900)


def redis(box):
    needs("redis-server", "redis-cli", "redis-benchmark")
    # A socket's path may have 108 bytes; the box's is short.
    socket = box.folder / "s"
    server = box.start("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
                       "--dir", box.folder, "--io-threads", "2")
    try:
        deadline = time.monotonic() + 30
        while run(["redis-cli", "-s", str(socket), "ping"], box.env).stdout.strip() != b"PONG":
            expect(server.poll() is None, f"redis-server ended with {server.returncode}")
            expect(time.monotonic() < deadline, "redis-server does not answer")
            time.sleep(0.05)
        cli = ["redis-cli", "-s", socket]
        requests = 5000 if box.short else 30000
        # Its numbers are times; what counts is that every kind of request is answered.
        box.run("redis-benchmark", "-s", socket, "-n", requests, "-c", "20", "-P", "8", "-d", "300", "-r", "20000",
                "-q", "-t", "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset",
                replace=[(rb"[^\n]*\r", b""), (rb": .*", b"")])
        box.run(*cli, "flushall")
        box.run(*cli, stdin=sources.redis_commands(requests // 10).encode())
        box.run(*cli, "dbsize")
        box.run(*cli, "lrange", "list:7", "0", "-1")
        box.run(*cli, "zrange", "sorted", "0", "-1", "withscores")
        box.run(*cli, "eval", "local s = 0 for i = 1, 100000 do s = s + #tostring(i) end return s", "0")
        # The child that saves works on a copy of the heap; the file is then read back.
        box.run(*cli, "debug", "digest")
        box.run(*cli, "bgsave")
        deadline = time.monotonic() + 60
        while b"rdb_bgsave_in_progress:1" in run(list(map(str, cli)) + ["info", "persistence"], box.env).stdout:
            expect(time.monotonic() < deadline, "the save does not end")
            time.sleep(0.05)
        box.run(*cli, "debug", "reload")
        box.run(*cli, "debug", "digest")
        box.run(*cli, "memory", "purge")
        box.run(*cli, "shutdown", "nosave")
        expect(server.wait(timeout=30) == 0, f"redis-server ended with {server.returncode}")
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGKILL)
            server.wait()
    box.forget("*.rdb", "s")


def node(box):
    needs("node")
    box.run("node", INPUTS / "script.js", "1" if box.short else "5")


def java(box):
    needs("java")
    shutil.copy(INPUTS / "Work.java", box.folder)
    # Source-file mode needs the compiler; where there is only a runtime there is nothing to run.
    probe = run(["java", "--list-modules"], box.env)
    if b"jdk.compiler" not in probe.stdout:
        raise Skip("java has no compiler")
    box.run("java", "-Xmx256m", "-XX:+UseG1GC", "Work.java", "2" if box.short else "20")
    if not box.short:
        box.run("java", "-Xint", "-Xmx128m", "-XX:+UseSerialGC", "Work.java", "1")


def make(box):
    needs("make", "gcc")
    count = 6 if box.short else 40
    shutil.copy(INPUTS / "Makefile", box.folder)
    for name, text in sources.c_units(count).items():
        box.write(name, text)
    command = ["make", "-s", "-j2", f"COUNT={count}"]
    box.run(*command)
    box.run(*command, "generated1", "generated5")
    box.run(*command, "-q")
    box.run("cat", "table")


def lua(box):
    program = next((name for name in ("lua5.4", "lua5.3", "lua") if shutil.which(name)), None)
    if program is None:
        raise Skip("lua is missing")
    box.run(program, INPUTS / "script.lua", "1" if box.short else "8")


def xslt(box):
    needs("xsltproc")
    box.write("data.xml", sources.xml_items(500 if box.short else 20000))
    box.run("xsltproc", "-o", "out.html", INPUTS / "style.xsl", "data.xml")


CASES = {function.__name__: function for function in (
    bash, coreutils, perl, python, python_suite, git, sqlite3, gcc, gxx, clang, redis, node, java, make, lua, xslt)}
