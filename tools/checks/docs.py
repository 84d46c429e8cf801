#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs.py - fail when the written documentation does not match the tree.

docs.py ROOT CC

link     A relative link leads to a file that is there, and its #anchor to a
         heading.
snippet  Every ```c block compiles against include/. One with main() is a whole
         program; after a line <!-- given: DECLARATIONS --> it is statements;
         any other is declarations and functions.
name     zk_ and ZK_ names are those of the headers, the sources or the build.
path     A source file that is named is there.
proof    What status.md gives as a proof is a test, a script or a command.
table    errors.md has the table of src/runtime/error.c; configuration.md every
         field and variable; INSTALLATION.md every option; task_lifecycle.md
         every [flow n] and its file; architecture.md every module.

The records in docs/benchmarks.md and docs/decisions.md may name what is gone.
"""
import concurrent.futures
import re
import shutil
import subprocess
import sys

import tree

RECORDS = {"docs/benchmarks.md", "docs/decisions.md"}

FENCE = re.compile(
    r"(?:^<!-- given:(?P<given>.*?)-->\n)?^```(?P<word>\w*)\n"
    r"(?P<body>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.M)
SPAN = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"\b(?:zk_\w+|ZK_[A-Z0-9_]+)\b")
PATH = re.compile(
    r"(?:include|src|arch|tests|examples|tools)/[\w./-]+\.(?:c|h|S|py|build)$")

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
         "-fsyntax-only", "-x", "c", "-"]
# Fragments declare what only the text around them uses.
FRAGMENT = ["-Wno-unused-variable", "-Wno-unused-function",
            "-Wno-unused-but-set-variable"]
C_HEADERS = ("errno.h", "pthread.h", "signal.h", "stdio.h", "stdlib.h",
             "string.h", "unistd.h")


def pages(root):
    found = [page for page in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
             if (root / page).exists()]
    return found + tree.files(root, {".md"}, ("docs",))


def outside_fences(text):
    """The text with fenced blocks blank; lines stay in place."""
    return FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def outside_code(text):
    return SPAN.sub(lambda m: " " * len(m.group(0)), outside_fences(text))


# ---- links -------------------------------------------------------------------


def anchors(text):
    """The names that headings get, the way common renderers make them."""
    found = set()
    for heading in HEADING.findall(outside_fences(text)):
        heading = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(heading.replace(" ", "-"))
    return found


def link_problems(root, page, text):
    code_free = outside_code(text)
    for link in LINK.finditer(code_free):
        where, _, anchor = link.group(1).partition("#")
        if re.match(r"[a-z]+:", where):
            continue
        line = tree.line_of(code_free, link.start())
        target = (root / page).parent / where if where else root / page
        if not target.exists():
            yield page, line, f"no {where}"
        elif anchor and anchor not in anchors(target.read_text("utf-8")):
            yield page, line, f"no heading for #{anchor}"


# ---- snippets ----------------------------------------------------------------


def preamble(root):
    """What fragments may use: all public headers and the usual ones of C."""
    ours = (rel.removeprefix("include/")
            for rel in tree.files(root, {".h"}, ("include",)))
    return "".join(f"#include <{name}>\n" for name in (*C_HEADERS, *ours))


def source_of(page, text, block, before):
    """The C program that a block stands for, and the flags it needs."""
    body = block.group("body")
    line = tree.line_of(text, block.start("body"))
    body = f'#line {line} "{page}"\n{body}'
    if re.search(r"^int main\(", body, re.M):
        return body, []
    if block.group("given") is not None:
        given = "".join(f"static {part.strip()};\n"
                        for part in block.group("given").split(";")
                        if part.strip())
        body = (f"{given}int snippet(void);\nint snippet(void)\n{{\n{body}"
                "return 0;\n}\n")
    return before + body, FRAGMENT


def compile_source(root, cc, source, flags):
    done = subprocess.run(
        [cc, f"-I{root / 'include'}", *FLAGS, *flags], input=source, text=True,
        capture_output=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().split("\n")
    return next((line for line in lines if "error:" in line), lines[0])


def snippet_problems(root, cc, texts):
    jobs, before = [], preamble(root)
    for page, text in texts.items():
        for block in FENCE.finditer(text):
            if block.group("word") == "c":
                line = tree.line_of(text, block.start("body"))
                jobs.append(
                    (page, line, *source_of(page, text, block, before)))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = pool.map(
            lambda job: compile_source(root, cc, job[2], job[3]), jobs)
        for (page, line, _, _), error in zip(jobs, said):
            if error is not None:
                yield page, line, f"snippet: {error}"


# ---- names, paths, proofs ----------------------------------------------------


def words_of(root, folders, suffixes):
    words = set()
    for rel in tree.files(root, suffixes, folders):
        words.update(re.findall(r"\w+", tree.read(root, rel)))
    return words


def name_problems(page, text, known):
    for name in NAME.finditer(text):
        word = name.group(0)
        if word not in known and not word.endswith("_"):
            yield page, tree.line_of(text, name.start()), f"no {word}"


def path_problems(root, page, text):
    for span in SPAN.finditer(outside_fences(text)):
        path = span.group(1)
        if PATH.match(path) and not (root / path).exists():
            yield page, tree.line_of(text, span.start()), f"no {path}"


def proof_problems(root, page, text):
    """The third column of each row: what it names is in tests/ or tools/."""
    cases = words_of(root, ("tests",), {".c", ".py", ""})
    for number, line in enumerate(text.split("\n"), 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not re.match(r"\| [A-Z]\d", line) or len(cells) != 4:
            continue
        spans = SPAN.findall(cells[3])
        if cells[2] in ("done", "partly") and not spans:
            yield page, number, f"{cells[0]} is {cells[2]} without a proof"
        for span in spans:
            program = root / span.split()[0]
            if not (program.is_file() or span in cases):
                yield page, number, f"proof {span} is not there"


# ---- tables ------------------------------------------------------------------


def table_errors(root, page, text):
    source = tree.read(root, "src/runtime/error.c")
    want = {code: (kind.lower().replace("_", " "), words)
            for code, kind, words in re.findall(
                r'\{(E\w+), ZK_ERROR_(\w+), "([^"]*)"\}', source)}
    have = {code: (kind, words) for code, kind, words in re.findall(
        r"^\| `-(E\w+)` \| ([\w ]+?) \| ([^|]*?) \|", text, re.M)}
    for code in sorted(set(want) | set(have)):
        if want.get(code) != have.get(code):
            yield page, 1, (f"{code}: {have.get(code)}, but error.c has "
                            f"{want.get(code)}")


def rows_missing(page, text, words, what):
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    for word in sorted(set(words) - rows):
        yield page, 1, f"{what} {word} is not described"


def table_configuration(root, page, text):
    header = tree.blank(tree.read(root, "include/zokio/runtime.h"))
    body = re.search(r"typedef struct zk_config \{(.*?)\} zk_config_t", header,
                     re.S).group(1)
    fields = re.findall(r"(\w+)(?:\[\d+\])?;", body)
    yield from rows_missing(page, text, fields, "field")
    variables = set()
    for rel in tree.files(root, {".c"}, ("src",)):
        variables.update(re.findall(r'"(ZK_[A-Z_]+)"', tree.read(root, rel)))
    # Words of the overflow report are in quotes too.
    variables = {v for v in variables if not v.startswith("ZK_STACK_")
                 or v == "ZK_STACK_SIZE"}
    yield from rows_missing(page, text, variables, "variable")


def table_options(root, page, text):
    options = re.findall(r"^option\('(\w+)'",
                         tree.read(root, "meson_options.txt"), re.M)
    yield from rows_missing(page, text, options, "option")


def table_flow(root, page, text):
    headings = HEADING.findall(text)
    for rel in tree.files(root, {".c", ".h"}, ("src",)):
        for tag in re.findall(r"\[flow \d+\]", tree.read(root, rel)):
            if not any(tag in h and f"`{rel}`" in h for h in headings):
                yield page, 1, f"no heading with {tag} and `{rel}`"


def table_modules(root, page, text):
    for folder in sorted((root / "src").iterdir()):
        if folder.is_dir() and f"**`{folder.name}`**" not in text:
            yield page, 1, f"no paragraph on **`{folder.name}`**"


TABLES = {
    "docs/errors.md": table_errors,
    "docs/configuration.md": table_configuration,
    "docs/INSTALLATION.md": table_options,
    "docs/internals/task_lifecycle.md": table_flow,
    "docs/internals/architecture.md": table_modules,
    "docs/status.md": proof_problems,
}


def check(root, arguments):
    cc = (arguments + ["cc"])[0]
    if shutil.which(cc) is None:
        raise tree.Skip(f"no {cc}")
    texts = {page: tree.read(root, page) for page in pages(root)}
    known = words_of(root, ("include", "src", "tests", "tools"),
                     {".c", ".h", ".build", ".py", ""})
    for name in ("meson.build", "meson_options.txt"):
        known.update(re.findall(r"\w+", tree.read(root, name)))
    for page, text in texts.items():
        yield from link_problems(root, page, text)
        if page == "README.md" or (page.startswith("docs/")
                                   and page not in RECORDS):
            yield from name_problems(page, text, known)
            yield from path_problems(root, page, text)
        if page in TABLES:
            yield from TABLES[page](root, page, text)
    yield from snippet_problems(root, cc, texts)


if __name__ == "__main__":
    sys.exit(tree.main(check))
