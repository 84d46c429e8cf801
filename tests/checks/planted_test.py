#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""planted_test.py - each check finds what was planted, and only that.

planted_test.py ROOT CC CXX: makes a small clean tree, runs every check on it,
then once for each violation below with that planted. Speaks TAP.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

SPDX = "/* SPDX-License-Identifier: MIT */\n"
DOC = """/**
 * Adds.
 *
 * @param n  a number.
 *
 * @retval n  the same.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
"""
BASE = SPDX + """\
#ifndef ZOKIO_BASE_H
#define ZOKIO_BASE_H
#define ZK_VERSION_MAJOR 0
#define ZK_VERSION_MINOR 1
#define ZK_VERSION_PATCH 0
#define ZK_VERSION_STRING "0.1.0"
#define ZK_API __attribute__((visibility("default")))

typedef struct zk_pair {
    int a, b;
    int (*fn)(void *);
} zk_pair_t;

enum zk_word {
    ZK_ONE = 1,
};

""" + DOC + """\
ZK_API int zk_same(int n);

#endif
"""
FLOW = SPDX + "".join(f"/* [flow {n}] */\n" for n in range(1, 8))
FLOW_PAGE = "".join(f"# [flow {n}] `src/io/flow.c`\n" for n in range(1, 8))
README = """# A library

[The code](docs/errors.md#codes) and `src/io/io.c`.

```c
#include <zokio.h>
int main(void) { return zk_same(0); }
```

```c
static int twice(int n) { return 2 * zk_same(n); }
```

<!-- given: int n, rc -->
```c
rc = zk_same(n);
if (rc < 0)
    return rc;
```
"""
FUNCTION = "int zk_same(int n)\n{\n    return n;\n}\n"

CLEAN = {
    "meson.build":
        "# SPDX-License-Identifier: MIT\nversion: '0.1.0'\n",
    "meson_options.txt": "# SPDX-License-Identifier: MIT\n",
    "include/meson.build":
        "# SPDX-License-Identifier: MIT\n'zokio.h' 'zokio/base.h'\n",
    "include/zokio.h":
        SPDX + "#ifndef ZOKIO_H\n#define ZOKIO_H\n\n#include <zokio/base.h>\n"
               "\n#endif\n",
    "include/zokio/base.h": BASE,
    "src/io/meson.build":
        "# SPDX-License-Identifier: MIT\nfiles('io.c', 'flow.c')\n",
    "src/io/flow.c": FLOW,
    "src/io/io.c":
        SPDX + '#include "zokio/base.h"\n#include "utils/list.h"\n'
               "#include <errno.h>\n\n" + FUNCTION,
    "src/runtime/meson.build":
        "# SPDX-License-Identifier: MIT\nfiles('error.c')\n",
    "src/runtime/error.c":
        SPDX + "static const struct zk_pair zk_pairs[] = {\n"
               "    {EIO, ZK_ERROR_IO, \"broken\"},\n};\n",
    "README.md": README,
    "docs/errors.md": "# Codes\n\n| `-EIO` | io | broken | everywhere |\n",
    "docs/status.md": "| A1 | Adding | done | `tests/api/abi.txt` |\n",
    "docs/INSTALLATION.md": "# Options\n",
    "docs/internals/task_lifecycle.md": FLOW_PAGE,
    "docs/internals/architecture.md": "**`io`**, **`runtime`**, **`utils`**\n",
    "src/utils/list.h":
        SPDX + "#ifndef ZK_UTILS_LIST_H\n#define ZK_UTILS_LIST_H\n\n#endif\n",
    "src/runtime/runtime.h":
        SPDX + "#ifndef ZK_RUNTIME_H\n#define ZK_RUNTIME_H\n\n#endif\n",
    "tests/api/abi.txt":
        "call int zk_same(int n);\nenum ZK_ONE = 1\n"
        "field zk_pair_t.a at 0\nfield zk_pair_t.b at 4\n"
        "field zk_pair_t.fn at 8\ntype zk_pair_t size 16 align 8\n",
}

IO, H = "src/io/io.c", "include/zokio/base.h"
# check, what it should say, file, and the text that is put at its end, or a
# pair (old, new) of texts, or None: the file is removed.
PLANTED = (
    ("layers", "io may not use runtime", IO,
     '#include "runtime/runtime.h"\n'),
    ("layers", "private to memory", "src/io/new.c",
     '#include "memory/slab.h"\n'),
    ("layers", "scheduler may not use io", "src/scheduler/new.c",
     '#include "io/io.h"\n'),
    ("layers", 'public header includes "', H, '#include "io/io.h"\n'),
    ("layers", "conditional: #if", IO, "#if defined(__linux__)\n#endif\n"),
    ("layers", "conditional: #ifdef", IO, "#ifdef ZK_DEBUG\n#endif\n"),
    ("layers", "has no line in LAYERS", "src/extras/new.c", "\n"),
    ("layers", "example includes", "examples/basic/new.c",
     '#include "io/io.h"\n'),
    ("api", "zk_same: no @retval", H, ("@retval", "@result")),
    ("api", "zk_same: no @context", H, ("@context", "@contest")),
    ("api", "zk_same: no @threads", H, ("@threads", "@treads")),
    ("api", "zk_same: no @memory", H, ("@memory", "@memo")),
    ("api", "zk_same: no @since", H, ("@since", "@sins")),
    ("api", "no /** */ block", H, (DOC, "")),
    ("api", "@param n is not a parameter", H, ("(int n)", "(int m)")),
    ("api", "disagree on switching", H, ("(int n)", "(int n, int deadline)")),
    ("api", "disagree on switching", H, ("never switches", "may switch")),
    ("api", "is not installed", "include/zokio/testing.h", "\n"),
    ("api", "<zokio/new.h> is missing", "include/zokio/new.h", "\n"),
    ("style", "801 lines, more than 800", "src/utils/long.h", "\n" * 800),
    ("style", "101 lines, more than 100", "examples/basic/io.c", "\n" * 100),
    ("style", "function of 71 lines", IO, "int f(void)\n{" + "\n" * 71 + "}\n"),
    ("style", "no SPDX line", IO, (SPDX, "")),
    ("style", "no SPDX line", "tools/new", ("", "#!/bin/sh\n")),
    ("style", "errno outside src/platform", IO, "int e = errno;\n"),
    ("style", "thread-local outside", IO, "static _Thread_local int t;\n"),
    ("style", "thread-local outside", IO, "static __thread int t;\n"),
    ("style", "atomic not through", IO, "int a = atomic_load(&b);\n"),
    ("style", "// comment", IO, "int a; // why\n"),
    ("style", "unfinished", IO, "/* TODO: the rest */\n"),
    ("style", "[flow 3] is missing", "src/io/flow.c", ("[flow 3]", "")),
    ("style", "[flow 3] again", IO, "/* [flow 3] */\n"),
    ("style", "[flow 8]", IO, "/* [flow 8] */\n"),
    ("style", "in no meson.build", "src/io/new.c", "\n"),
    ("format", "clang-format would change", IO, "int  a;\n"),
    ("headers", "alone as c:", H, "size_t zk_size;\n"),
    ("headers", "alone as c++", H, "static int *zk_p = (void *)1;\n"),
    ("headers", "alone as c:", "src/utils/list.h",
     "struct zk_a { gone b; };\n"),
    ("abi", "new: field zk_pair_t.c at 12", H, ("a, b;", "a, b, d, c;")),
    ("abi", "gone: call int zk_same(int n)", H, ("(int n)", "(long n)")),
    ("abi", "gone: enum ZK_ONE = 1", H, ("ZK_ONE = 1", "ZK_ONE = 2")),
    ("docs", "no docs/gone.md", "README.md", "[gone](docs/gone.md)\n"),
    ("docs", "no heading for #gone", "README.md", ("#codes", "#gone")),
    ("docs", "no heading for #codes", "docs/errors.md", ("# Codes", "# C")),
    ("docs", "README.md:11: snippet:", "README.md", ("2 * zk", "2 * no")),
    ("docs", "README.md:16: snippet:", "README.md", ("return rc", "return x")),
    ("docs", "snippet: README.md:7:", "README.md", ("zk_same(0)", "0 0")),
    ("docs", "snippet:", H, ("int zk_same(int", "int zk_same(char *")),
    ("docs", "no zk_gone", "README.md", "`zk_gone()`\n"),
    ("docs", "no ZK_GONE", "docs/errors.md", "ZK_GONE\n"),
    ("docs", "no src/io/gone.c", "README.md", "`src/io/gone.c`\n"),
    ("docs", "A1 is done without a proof", "docs/status.md",
     ("`tests/api/abi.txt`", "")),
    ("docs", "proof a_case_that_is_gone is not there", "docs/status.md",
     ("tests/api/abi.txt", "a_case_that_is_gone")),
    ("docs", "EIO: ('io', 'broken')", "src/runtime/error.c",
     ("broken", "in pieces")),
    ("docs", "EPERM: None", "src/runtime/error.c",
     ("    {EIO", '    {EPERM, ZK_ERROR_IO, "no"},\n    {EIO')),
    ("docs", "EPERM: ('usage', 'no')", "docs/errors.md",
     "| `-EPERM` | usage | no | nowhere |\n"),
    ("docs", "option speed is not described", "meson_options.txt",
     "option('speed', type: 'boolean')\n"),
    ("docs", "no heading with [flow 3] and", "docs/internals/task_lifecycle.md",
     ("# [flow 3]", "# [flow 4]")),
    ("docs", "no paragraph on **`extras`**", "src/extras/new.c", "\n"),
    ("symbols", "which no public header declares", IO,
     '__attribute__((visibility("default"))) int zk_more;\n'),
    ("symbols", "declared but not exported", H,
     "ZK_API int zk_gone(void);\n"),
    ("symbols", "global symbol helper", IO, "int helper;\n"),
    ("symbols", "versions differ", H, ('"0.1.0"', '"0.2.0"')),
    ("symbols", "versions differ", H, ("MINOR 1", "MINOR 2")),
    ("symbols", "executable stack", IO,
     '__asm__(".section .note.GNU-stack,\\"x\\"\\n.text");\n'),
)
# These are not violations: check, file, text.
ALLOWED = (
    ("style", IO, "/* errno and atomic_load( and __thread */\n"),
    ("style", IO, 'static const char *s = "http://x errno";\n'),
    ("style", "src/platform/platform.h", "int e = errno;\n"),
    ("style", IO, "/* TODO(#12) the rest */\n"),
    ("style", IO, "int f(void)\n{\n/* check: length: one table */"
     + "\n" * 71 + "}\n"),
    ("style", "src/utils/long.h", "/* check: length: one table */"
     + "\n" * 800),
    ("layers", IO, "#ifndef ZK_IO_MAX\n#define ZK_IO_MAX 1\n#endif\n"),
    ("docs", "README.md", "[afar](https://example.org/#x), `build/new.c`\n"),
    ("docs", "docs/benchmarks.md", "`zk_gone()` was slow\n"),
    ("layers", "src/platform/platform.h", "#if 1\n#endif\n"),
    ("layers", "src/testing/testing.h", '#include "io/backend.h"\n'),
)


class Trees:
    def __init__(self, root, cc, cxx):
        self.checks = pathlib.Path(root) / "tools" / "checks"
        self.style = (pathlib.Path(root) / ".clang-format").read_text()
        self.cc, self.cxx = cc, cxx

    def make(self, folder, changes):
        tree = {**CLEAN, ".clang-format": self.style}
        for name, change in changes:
            old = tree.get(name, SPDX)
            if isinstance(change, tuple):
                tree[name] = old.replace(*change) if change[0] else change[1]
            else:
                tree[name] = old + change
        for name, text in tree.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def build(self, folder):
        """The library as symbols.py wants it."""
        source, build = f"{folder}/src/io/io.c", f"{folder}/build"
        flags = ["-fPIC", "-fvisibility=hidden", f"-I{folder}/include",
                 f"-I{folder}/src", "-include", "zokio/base.h"]
        os.mkdir(build)
        shared, static = f"{build}/libzokio.so.0.1.0", f"{build}/libzokio.a"
        for command in (
                [self.cc, *flags, "-c", source, "-o", f"{build}/io.o"],
                [self.cc, "-shared", f"{build}/io.o", "-o", shared],
                ["ar", "cr", static, f"{build}/io.o"]):
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return [shared, static]

    def run(self, check, changes):
        with tempfile.TemporaryDirectory() as folder:
            self.make(folder, changes)
            arguments = {"headers": ["none", self.cc, self.cxx],
                         "abi": [self.cc], "docs": [self.cc]}.get(check, [])
            if check == "symbols":
                arguments = self.build(folder)
            done = subprocess.run(
                [sys.executable, self.checks / f"{check}.py", folder,
                 *arguments], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr


def main():
    trees = Trees(*sys.argv[1:4])
    cases = []
    for check in dict.fromkeys(case[0] for case in PLANTED):
        cases.append((f"{check} passes a clean tree", check, [], 0, ""))
    for check, file, text in ALLOWED:
        cases.append((f"{check} allows {text[:30]!r} in {file}", check,
                      [(file, text)], 0, ""))
    for check, says, file, text in PLANTED:
        cases.append((f"{check} finds: {says}", check, [(file, text)], 1,
                      says))
    print(f"1..{len(cases)}")
    failed = False
    for number, (name, check, changes, status, says) in enumerate(cases, 1):
        got, text = trees.run(check, changes)
        name = name.replace("#", "")
        if got == 77:
            print(f"ok {number} - {name} # SKIP {text.strip()}")
            continue
        good = got == status and says in text
        failed = failed or not good
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
        if not good:
            print(f"# exit {got}, wanted {status} and {says!r}:")
            print("".join(f"# {line}\n" for line in text.split("\n")), end="")
    return failed


if __name__ == "__main__":
    sys.exit(main())
