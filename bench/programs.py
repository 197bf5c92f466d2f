"""Real programs, unmodified, with inputs that are generated the same way every time."""

import random
import socket
import subprocess
import sys
import textwrap
import time

from jobs import Job, linked_allocator
from measure import Failure

WORDS = [a + b for a in ("al", "be", "co", "du", "er", "fo", "gi", "ha", "in", "ju", "ka", "lo") for b in
         ("mer", "ton", "lis", "van", "rok", "sen", "tal", "dor", "pin", "gas", "hul", "wen")]


def words(source, count):
    return " ".join(source.choices(WORDS, k=count))


def times(count, scale):
    return max(1, int(count * scale))


class Program(Job):
    group = "program"


class Sqlite(Program):
    name = "sqlite"
    question = "sqlite3: inserts, indices, joins and updates in memory"
    packages = {"sqlite3": "sqlite3"}

    def prepare(self, folder, scale):
        source = random.Random(1)
        rows = times(150_000, scale)
        with open(folder / "input.sql", "w") as sql:
            sql.write("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city TEXT, note TEXT);\n"
                      "CREATE TABLE sale(id INTEGER PRIMARY KEY, person INTEGER, amount REAL, what TEXT);\nBEGIN;\n")
            for i in range(rows):
                sql.write(f"INSERT INTO person VALUES({i},'{words(source, 2)}','{source.choice(WORDS)}',"
                          f"'{words(source, source.randint(1, 20))}');\n")
                sql.write(f"INSERT INTO sale VALUES({i},{source.randrange(rows)},{source.randrange(10000) / 100},"
                          f"'{words(source, 3)}');\n")
            sql.write(textwrap.dedent(f"""\
                COMMIT;
                CREATE INDEX person_city ON person(city, name);
                CREATE INDEX sale_person ON sale(person);
                SELECT city, count(*), round(sum(amount), 2) FROM person JOIN sale ON sale.person = person.id
                  GROUP BY city ORDER BY 3 DESC LIMIT 20;
                SELECT upper(name) || '/' || replace(note, 'a', 'aa') FROM person ORDER BY note LIMIT 20;
                UPDATE person SET note = note || ' ' || name WHERE id % 3 = 0;
                DELETE FROM sale WHERE person % 7 = 2;
                SELECT group_concat(what, ';') FROM (SELECT what FROM sale ORDER BY what LIMIT {times(1000, scale)});
                SELECT length(note), count(*) FROM person GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20;
                """))

    def command(self):
        return ["sqlite3", ":memory:", ".read input.sql"]


class Python(Program):
    name = "python"
    question = "python3 with PYTHONMALLOC=malloc: objects, dictionaries, text, JSON"
    environment = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}

    def prepare(self, folder, scale):
        (folder / "input.py").write_text(textwrap.dedent(f"""\
            import json, random, re
            source = random.Random(1)
            class Node:
                def __init__(self, key):
                    self.key, self.left, self.right, self.tags = key, None, None, [str(key), key % 7]
            def insert(root, key):
                while True:
                    side = "left" if key < root.key else "right"
                    child = getattr(root, side)
                    if child is None:
                        setattr(root, side, Node(key))
                        return
                    root = child
            total = 0
            for round in range({times(12, scale)}):
                root = Node(0.5)
                for _ in range(6000):
                    insert(root, source.random())
                records = [{{"id": i, "name": "n%d" % source.randrange(10**6), "tags": [str(j) for j in range(i % 9)]}}
                           for i in range(12000)]
                text = json.dumps(records)
                total += len(json.loads(text)) + len(re.findall(r'n(\\d+)"', text))
                counts = {{}}
                for word in re.split(r"\\W+", text):
                    counts[word] = counts.get(word, 0) + 1
                total += len(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
                total += sum(map(len, ["-".join(map(str, range(k % 40))) for k in range(8000)]))
            print(total)
            """))

    def command(self):
        return [sys.executable, "-s", "input.py"]


class Gxx(Program):
    name = "g++"
    question = "g++ -O1 compiling one large file full of templates"
    packages = {"g++": "g++"}
    tree = True

    def prepare(self, folder, scale):
        with open(folder / "input.cc", "w") as code:
            for header in ("algorithm", "functional", "map", "memory", "regex", "string", "variant", "vector"):
                code.write(f"#include <{header}>\n")
            for i in range(times(20, scale)):
                code.write(textwrap.dedent(f"""\
                    struct S{i} {{ std::string name; std::vector<std::pair<int, std::string>> list; int key = {i}; }};
                    std::size_t f{i}(std::map<std::string, S{i}>& m, const std::vector<std::string>& keys) {{
                      std::size_t sum = 0;
                      for (const auto& key : keys) {{
                        auto [at, fresh] = m.try_emplace(key, S{i}{{key, {{}}, {i}}});
                        if (!fresh) at->second.list.emplace_back(at->second.key, key + "{i}");
                        std::sort(at->second.list.begin(), at->second.list.end(), [](const auto& a, const auto& b) {{
                          return a.second.size() + {i} < b.second.size();
                        }});
                        std::function<std::size_t(std::size_t)> g = [&](std::size_t n) {{
                          return n ? n + g(n - 1) : {i}u;
                        }};
                        std::variant<int, std::string, S{i}> v = at->second;
                        sum += g(at->second.list.size()) + v.index() + std::make_unique<S{i}>(at->second)->name.size();
                      }}
                      return sum;
                    }}
                    """))

    def command(self):
        return ["g++", "-std=c++17", "-O1", "-c", "input.cc", "-o", "/dev/null"]


class Perl(Program):
    name = "perl"
    question = "perl: hashes, lists, substitutions, sorting"
    packages = {"perl": "perl"}
    environment = {"PERL_HASH_SEED": "0"}

    def prepare(self, folder, scale):
        source = random.Random(2)
        with open(folder / "input.txt", "w") as text:
            for _ in range(times(60_000, scale)):
                text.write(words(source, source.randint(3, 15)) + f" {source.randrange(100_000)}\n")
        (folder / "input.pl").write_text(textwrap.dedent("""\
            use strict; use warnings;
            my (%count, %lines, @long);
            open(my $in, '<', 'input.txt') or die $!;
            while (my $line = <$in>) {
                chomp $line;
                my @words = split / /, $line;
                $count{$_}++ for @words;
                push @{$lines{$words[0]}}, { number => $words[-1], text => join('-', reverse @words) };
                (my $other = $line) =~ s/([aeiou])/<$1>/g;
                push @long, $other if length $other > 120;
            }
            my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
            print scalar(@order), " $order[0] $order[-1] ", scalar(@long), "\\n";
            for my $first (sort keys %lines) {
                my @sorted = sort { $a->{number} <=> $b->{number} || $a->{text} cmp $b->{text} } @{$lines{$first}};
                print "$first $sorted[0]{text} ", length(join ',', map { $_->{text} } @sorted), "\\n";
            }
            """))

    def command(self):
        return ["perl", "input.pl"]


class Lua(Program):
    name = "lua"
    question = "lua: tables, closures, strings"
    packages = {"lua5.4": "lua5.4"}

    def prepare(self, folder, scale):
        (folder / "input.lua").write_text(textwrap.dedent(f"""\
            local seed = 1
            local function random(n) seed = (seed * 1103515245 + 12345) % 2147483648; return seed // 65536 % n end
            local total = 0
            for round = 1, {times(12, scale)} do
              local objects, names = {{}}, {{}}
              for i = 1, 40000 do
                local name = "object " .. random(32768)
                objects[i] = {{ name = name, value = i, child = {{ i, name .. i }}, get = function() return name end }}
                names[name] = (names[name] or 0) + 1
              end
              table.sort(objects, function(a, b) return a.name < b.name or (a.name == b.name and a.value < b.value) end)
              local parts = {{}}
              for i = 1, #objects, 3 do parts[#parts + 1] = objects[i].get():upper() .. objects[i].child[2] end
              local text = table.concat(parts, ",")
              for word in text:gmatch("%d+") do total = total + #word end
              total = total + #text:gsub("OBJECT", "o")
              for name, count in pairs(names) do total = total + count end
            end
            print(total)
            """))

    def command(self):
        return ["lua5.4", "input.lua"]


class GitRepack(Program):
    name = "git repack"
    question = "git repack -adf of a generated history, two threads"
    packages = {"git": "git"}
    tree = True
    environment = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

    def prepare(self, folder, scale):
        source = random.Random(3)
        files = [[words(source, 8) for _ in range(source.randint(20, 300))] for _ in range(120)]
        stream = []
        for commit in range(times(1500, scale)):
            stream.append(f"commit refs/heads/main\ncommitter A <a@example.org> {1_600_000_000 + commit} +0000\n"
                          f"data 6\nchange\n")
            for number in source.sample(range(len(files)), 4):
                lines = files[number]
                for _ in range(3):
                    lines[source.randrange(len(lines))] = words(source, 8)
                content = "\n".join(lines)
                stream.append(f"M 644 inline dir{number % 9}/file{number}\ndata {len(content)}\n{content}\n")
        run = {"cwd": folder, "check": True, "capture_output": True}
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", "repo"], **run)
        subprocess.run(["git", "-C", "repo", "fast-import", "--quiet"], input="".join(stream).encode(), **run)

    def command(self):
        return ["git", "-C", "repo", "-c", "pack.threads=2", "repack", "-adfq", "--window=30"]


class Xslt(Program):
    name = "xsltproc"
    question = "xsltproc: a large document sorted, grouped and rewritten"
    packages = {"xsltproc": "xsltproc"}

    def prepare(self, folder, scale):
        source = random.Random(4)
        with open(folder / "input.xml", "w") as xml:
            xml.write("<books>\n")
            for i in range(times(50_000, scale)):
                xml.write(f'<book id="b{i}" year="{source.randint(1900, 2020)}"><title>{words(source, 5)}</title>'
                          f"<author>{words(source, 2)}</author><text>{words(source, 20)}</text></book>\n")
            xml.write("</books>\n")
        (folder / "input.xsl").write_text(textwrap.dedent("""\
            <xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
              <xsl:key name="by-year" match="book" use="@year"/>
              <xsl:template match="/books">
                <years>
                  <xsl:for-each select="book[generate-id() = generate-id(key('by-year', @year)[1])]">
                    <xsl:sort select="@year"/>
                    <year of="{@year}" count="{count(key('by-year', @year))}">
                      <xsl:apply-templates select="key('by-year', @year)">
                        <xsl:sort select="title"/>
                      </xsl:apply-templates>
                    </year>
                  </xsl:for-each>
                </years>
              </xsl:template>
              <xsl:template match="book">
                <entry><xsl:value-of select="translate(title, 'aeiou', 'AEIOU')"/>:
                  <xsl:value-of select="substring-after(text, ' ')"/><by><xsl:value-of select="author"/></by></entry>
              </xsl:template>
            </xsl:stylesheet>
            """))

    def command(self):
        return ["xsltproc", "input.xsl", "input.xml"]


class Node(Program):
    name = "node"
    question = "node: start, JSON, buffers, compression"
    packages = {"node": "nodejs"}

    def prepare(self, folder, scale):
        (folder / "input.js").write_text(textwrap.dedent(f"""\
            const zlib = require('zlib'), crypto = require('crypto');
            let total = 0;
            for (let round = 0; round < {times(20, scale)}; ++round) {{
              const records = [];
              for (let i = 0; i < 10000; ++i) {{
                records.push({{id: i, name: 'name ' + (i * 7919 % 10007), list: [i, i + 1]}});
              }}
              const text = JSON.stringify(records);
              total += JSON.parse(text).length;
              const buffers = [];
              for (let i = 0; i + 1000 < text.length; i += 1000) buffers.push(Buffer.from(text.slice(i, i + 1000)));
              const packed = buffers.map((buffer) => zlib.deflateSync(buffer, {{level: 1, memLevel: 5}}));
              total += packed.reduce((sum, buffer) => sum + zlib.inflateSync(buffer).length, 0);
              total += parseInt(crypto.createHash('sha256').update(text).digest('hex').slice(0, 4), 16);
            }}
            console.log(total);
            """))

    def command(self):
        return ["node", "input.js"]


class Java(Program):
    name = "java"
    question = "java: start of the virtual machine, compiling and running a source file"
    packages = {"java": "default-jdk-headless", "javac": "default-jdk-headless"}

    def prepare(self, folder, scale):
        (folder / "Input.java").write_text(textwrap.dedent(f"""\
            import java.util.*;
            import java.util.stream.*;
            public class Input {{
              public static void main(String[] arguments) {{
                Map<String, List<Integer>> map = new TreeMap<>();
                for (int i = 0; i < {times(200_000, scale)}; ++i)
                  map.computeIfAbsent("key " + i * 7919L % 1009, key -> new ArrayList<>()).add(i);
                System.out.println(map.values().stream().mapToLong(List::size).sum() + " "
                    + map.keySet().stream().collect(Collectors.joining(",")).length());
              }}
            }}
            """))

    def command(self):
        return ["java", "-Xmx256m", "Input.java"]


class Redis(Program):
    packages = {"redis-server": "redis-server", "redis-benchmark": "redis-tools"}
    compare_output = False  # its log has times and process numbers

    def __init__(self, name, pipeline):
        self.name = name
        self.question = "redis-server under redis-benchmark, " + \
            (f"{pipeline} requests in a pipeline" if pipeline > 1 else "one request at a time")
        self._pipeline = pipeline
        self._requests = 0

    def built_in(self):
        return linked_allocator("redis-server")

    def prepare(self, folder, scale):
        self._requests = times(600_000 if self._pipeline > 1 else 100_000, scale)

    def command(self):
        return ["redis-server", "--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"]

    def drive(self, folder, running):
        path = str(folder / "socket")
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(path)
                break
            except OSError:
                if not running():
                    return  # the caller sees why
                if time.monotonic() > deadline:
                    raise Failure("redis-server does not answer") from None
                time.sleep(0.02)
        client = subprocess.run(
            ["redis-benchmark", "-s", path, "-q", "-n", str(self._requests), "-r", "200000", "-d", "200", "-c", "20",
             "-P", str(self._pipeline), "-t", "set,get,lpush,hset,sadd"], capture_output=True, text=True)
        if running():
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(path)
                    connection.sendall(b"SHUTDOWN NOSAVE\r\n")
                    connection.recv(100)
            except OSError:
                pass  # it has died on its own: the caller sees why
        if client.returncode != 0 and running():
            raise Failure("redis-benchmark: " + (client.stderr.strip() or f"exit status {client.returncode}"))


class Ghostscript(Program):
    name = "ghostscript"
    question = "ghostscript: pages of text and curves rendered to a bitmap"
    packages = {"gs": "ghostscript"}

    def prepare(self, folder, scale):
        source = random.Random(5)
        with open(folder / "input.ps", "w") as page:
            page.write("%!PS\n/line { moveto show } def\n")
            for _ in range(times(30, scale)):
                page.write(f"/Times-Roman findfont {source.randint(8, 12)} scalefont setfont\n")
                for y in range(60, 780, 12):
                    page.write(f"({words(source, 12)}) 40 {y} line\n")
                for _ in range(150):
                    points = " ".join(str(source.randint(0, 600)) for _ in range(6))
                    page.write(f"{source.random():.3f} {source.random():.3f} {source.random():.3f} setrgbcolor newpath "
                               f"{source.randint(0, 600)} {source.randint(0, 800)} moveto {points} curveto stroke\n")
                page.write("showpage\n")

    def command(self):
        return ["gs", "-q", "-dSAFER", "-dNOPAUSE", "-dBATCH", "-sDEVICE=png16m", "-r120", "-sOutputFile=/dev/null",
                "input.ps"]


class Make(Program):
    name = "make -j"
    question = "make -j2: forty small C files, compiled and linked"
    packages = {"make": "make", "gcc": "gcc"}
    tree = True

    def prepare(self, folder, scale):
        count = times(40, scale)
        for i in range(count):
            functions = "\n".join(f"static int f{j}(int x) {{ char t[32]; snprintf(t, sizeof t, \"%d\", x + {j}); "
                                  f"return atoi(t) * {i + 1}; }}" for j in range(40))
            calls = " + ".join(f"f{j}(x)" for j in range(40))
            (folder / f"part{i}.c").write_text("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
                                               f"{functions}\nint part{i}(int x) {{ return {calls}; }}\n")
        declarations = "\n".join(f"int part{i}(int);" for i in range(count))
        calls = " + ".join(f"part{i}(argc)" for i in range(count))
        (folder / "main.c").write_text(f"{declarations}\nint main(int argc, char** argv) {{\n"
                                       f"  (void)argv;\n  return ({calls}) == 0;\n}}\n")
        (folder / "Makefile").write_text("objects := $(patsubst %.c,%.o,$(wildcard *.c))\n"
                                         "program: $(objects)\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n")

    def command(self):
        return ["make", "-s", "-B", "-j2"]


def real_programs():
    return [Sqlite(), Python(), Gxx(), Perl(), Lua(), GitRepack(), Xslt(), Node(), Java(), Redis("redis", 1),
            Redis("redis pipelined", 16), Ghostscript(), Make()]
