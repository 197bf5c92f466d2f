"""The README's examples are programs: each is taken out of it, compiled against the header and the library, and run.

Usage: example.py README NAME EXPECTED_OUTPUT INCLUDE LIBRARY COMPILER...
"""

import os
import pathlib
import re
import sys
import tempfile
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import harness


def test():
    readme, name, expected, include, library, *compiler = sys.argv[1:]
    library = os.path.abspath(library)
    found = re.findall(rf"<!-- example: {re.escape(name)} -->\n(.*?)<!-- /example -->", open(readme).read(), re.S)
    harness.expect(len(found) == 1, f"{readme} has {len(found)} examples {name}, not one")
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, name), os.path.join(folder, "program")
        pathlib.Path(source).write_text(textwrap.dedent(found[0]))
        build = harness.run([*compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{include}", source, "-o", program,
                             f"-L{os.path.dirname(library)}", "-lpoolmalloc", f"-Wl,-rpath,{os.path.dirname(library)}"],
                            harness.environment())
        harness.expect(build.returncode == 0, f"it does not compile\n{harness.describe(build)}")
        done = harness.run([program], harness.environment())
        harness.expect(done.returncode == 0 and done.stdout.decode() == expected + "\n" and done.stderr == b"",
                       f"expected: {expected}\n{harness.describe(done)}")


harness.main(test)
