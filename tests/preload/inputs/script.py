"""json, re, sqlite3, threads, processes, ctypes, big numbers and compression: script.py SCALE."""
import asyncio
import bz2
import collections
import ctypes
import decimal
import functools
import hashlib
import io
import json
import lzma
import multiprocessing
import pickle
import queue
import random
import re
import sqlite3
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
import zlib

SCALE = int(sys.argv[1])


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else repr(data).encode()).hexdigest()[:16]


def documents(seed, count):
    source = random.Random(seed)
    return [{"id": i, "name": "".join(source.choices("abcdefgh", k=source.randrange(1, 60))),
             "values": [source.random() for _ in range(source.randrange(20))],
             "nested": {"a": [None, True, i]}} for i in range(count)]


def square_all(numbers):
    return sum(len("x" * (number % 1000)) * number for number in numbers)


def main():
    docs = documents(1, 3000 * SCALE)
    text = json.dumps(docs)
    print("json", digest(text), json.loads(text) == docs, digest(json.dumps(docs, indent=2, sort_keys=True)))
    print("pickle", pickle.loads(pickle.dumps(docs)) == docs)
    print("re", len(re.findall(r"(\w+?)\1", text)), digest(re.sub(r"\d+\.(\d{3})\d*", r"\1", text)))
    for module in (zlib, bz2, lzma):
        print(module.__name__, module.decompress(module.compress(text.encode())) == text.encode())

    database = sqlite3.connect(":memory:")
    database.execute("create table t(id integer primary key, name text, size integer)")
    rows = ((doc["id"], doc["name"], len(doc["values"])) for doc in docs)
    database.executemany("insert into t values(?, ?, ?)", rows)
    print("sqlite", database.execute("select size, count(*), max(name) from t group by size order by size").fetchall())

    results, work = [], queue.Queue()
    for number in range(200):
        work.put(number)

    def worker():
        while True:
            try:
                number = work.get_nowait()
            except queue.Empty:
                return
            results.append((number, digest(json.dumps(documents(number, 20 * SCALE)))))

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("threads", digest(sorted(results)))

    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            print(method, sum(pool.map(square_all, [range(i, i + 2000) for i in range(0, 20000, 500)])))
    child = subprocess.run([sys.executable, "-c", "print('x' * 100000)"], capture_output=True, check=True)
    print("subprocess", child.stdout.count(b"x"))

    async def echo(number):
        await asyncio.sleep(0)
        return "e" * number

    async def gather():
        return sum(map(len, await asyncio.gather(*(echo(number) for number in range(2000)))))

    print("asyncio", asyncio.run(gather()))
    decimal.getcontext().prec = 500
    print("decimal", digest(str(decimal.Decimal(2).sqrt())), digest(str(3 ** (20000 * SCALE) % 10 ** 3000)))
    root = ElementTree.fromstring("<r>" + "".join(f"<i n='{i}'>{i * i}</i>" for i in range(5000 * SCALE)) + "</r>")
    print("xml", len(root), digest(ElementTree.tostring(root)))
    counts = collections.Counter(re.split(r"\W+", text))
    print("counter", digest(sorted(counts.items())))

    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.realloc.restype = ctypes.c_void_p
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    for size in (1, 100, 10000, 10000000):
        pointer = libc.malloc(size)
        ctypes.memset(pointer, 65, size)
        pointer = libc.realloc(pointer, size * 2)
        print("ctypes", ctypes.string_at(pointer, size).count(b"A"))
        libc.free(pointer)
    stream = io.StringIO()
    for number in range(20000):
        stream.write(f"{number:>10}")
    print("stringio", digest(stream.getvalue()), functools.reduce(lambda a, b: a ^ b, range(10000)))
    try:
        bytearray(1 << 62)
    except MemoryError:
        print("MemoryError")


if __name__ == "__main__":
    main()
