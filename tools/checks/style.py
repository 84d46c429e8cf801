#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""style.py - fail on what the house style forbids and a script can see.

length    A file has at most 800 lines, a function 70, a one-file example 100.
          A comment "check: length: reason" in the file or the function waives.
licence   An SPDX line among the first two lines of each source and script.
errno     Only src/platform reads errno.
thread    Thread-locals only in src/scheduler/current.c.
atomic    Atomics only through src/utils/atomic.h.
comment   No //, no unfinished-work marks.
flow      [flow 1] to [flow 7] each exactly once in src.
lists     Every .c and .S is named in the meson.build of its folder or of one
          above. (Meson sees to the converse.)
"""
import re
import sys

import tree

FILE_MAX, FUNCTION_MAX, EXAMPLE_MAX = 800, 70, 100
C = {".c", ".h", ".S"}
WORDS = (
    (re.compile(r"\berrno\b"), re.compile(r"^src/(?!platform/)"),
     "errno outside src/platform"),
    (re.compile(r"\b(_Thread_local|__thread|thread_local)\b"),
     re.compile(r"^src/(?!scheduler/current\.c$)"),
     "thread-local outside src/scheduler/current.c"),
    (re.compile(r"\b(atomic_\w+|__atomic_\w+|__sync_\w+|memory_order_\w+)\b"),
     re.compile(r"^src/(?!utils/atomic\.h$)"),
     "atomic not through utils/atomic.h"),
)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")


def length_problems(rel, text):
    lines = text.split("\n")
    count = len(lines) - 1
    limit = FILE_MAX
    if re.match(r"examples/[^/]+/[^/]+\.c$", rel):
        limit = EXAMPLE_MAX
    if count > limit and not tree.waived(text, "length"):
        yield rel, 1, f"{count} lines, more than {limit}"
    if rel.endswith(".S"):
        return
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            body = "\n".join(lines[start - 1:number])
            if (number - start > FUNCTION_MAX
                    and not tree.waived(body, "length")):
                yield (rel, start, f"function of {number - start} lines, "
                       f"more than {FUNCTION_MAX}")
            start = None


def word_problems(rel, text):
    code = tree.blank(text).split("\n")
    for number, line in enumerate(code, 1):
        if line.lstrip().startswith("#include"):
            continue
        for pattern, where, problem in WORDS:
            if where.match(rel) and pattern.search(line):
                yield rel, number, problem
    unstrung = tree.blank(text, comments=False)
    for token in tree.TOKEN.finditer(text):
        if token.group(0).startswith("//") and not rel.endswith(".S"):
            yield rel, tree.line_of(text, token.start()), "// comment"
    for number, line in enumerate(unstrung.split("\n"), 1):
        if UNFINISHED.search(line):
            yield rel, number, "unfinished: " + line.strip()


def flow_problems(root):
    places = {n: [] for n in range(1, 8)}
    for rel in tree.files(root, C, ("src",)):
        for number, line in enumerate(tree.read(root, rel).split("\n"), 1):
            for tag in re.findall(r"\[flow (\d+)\]", line):
                places.setdefault(int(tag), []).append((rel, number))
    for tag, where in sorted(places.items()):
        if not 1 <= tag <= 7:
            yield *where[0], f"[flow {tag}]: there are seven"
        elif not where:
            yield "src", 0, f"[flow {tag}] is missing"
        for rel, number in where[1:]:
            yield rel, number, f"[flow {tag}] again, first {where[0][0]}"


def licensed(root):
    for rel in tree.files(root, C | {".py", ".sh", ".ini", ".build", ".map"}):
        yield rel
    for path in sorted((root / "tools").glob("*")) + [
            root / "meson.build", root / "meson_options.txt"]:
        if path.is_file() and path.suffix in ("", ".build", ".txt"):
            yield path.relative_to(root).as_posix()


def listed(root, rel):
    """Is the file named in a meson.build of its folder or one above? A test
    is named without its _test.c."""
    path = root / rel
    for folder in path.parents:
        build = folder / "meson.build"
        if build.exists():
            names = {path.relative_to(folder).as_posix(), path.name}
            if rel.endswith("_test.c"):
                names.add(path.name.removesuffix("_test.c"))
            text = build.read_text(encoding="utf-8")
            if any(f"'{name}'" in text for name in names):
                return True
        if folder == root:
            return False
    return False


def list_problems(root):
    for rel in tree.files(root, {".c", ".S"}, (
            "src", "arch", "tests", "examples", "benchmarks")):
        if not rel.startswith(("benchmarks/comparison/", "tests/consumer/")):
            if not listed(root, rel):
                yield rel, 1, "in no meson.build"


def check(root, _):
    for rel in tree.files(root, C):
        text = tree.read(root, rel)
        yield from length_problems(rel, text)
        yield from word_problems(rel, text)
    for rel in licensed(root):
        head = tree.read(root, rel).split("\n")[:2]
        if not any("SPDX-License-Identifier: MIT" in line for line in head):
            yield rel, 1, "no SPDX line"
    yield from flow_problems(root)
    yield from list_problems(root)


if __name__ == "__main__":
    sys.exit(tree.main(check))
