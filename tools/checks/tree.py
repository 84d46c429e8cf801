# SPDX-License-Identifier: MIT
"""tree.py - what the checks share: files, comments, waivers, reports.

A check is a generator of (path, line, text); main() prints what it yields and
gives the exit status: 0 nothing found, 1 something found, 77 cannot run here.
"""
import pathlib
import re
import sys

FOLDERS = ("include", "src", "arch", "tests", "examples", "benchmarks",
           "tools")
# Not ours to shape, or made by tools.
SKIPPED = {"build", "target", "node_modules", "__pycache__"}

TOKEN = re.compile(
    r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


class Skip(Exception):
    """The check cannot run on this machine; says why."""


def files(root, suffixes, folders=FOLDERS):
    """Paths below `root` by name, relative, with one of the suffixes."""
    found = []
    for folder in folders:
        for path in (root / folder).rglob("*"):
            rel = path.relative_to(root)
            if (path.is_file() and path.suffix in suffixes
                    and not SKIPPED.intersection(rel.parts)):
                found.append(rel.as_posix())
    return sorted(found)


def read(root, rel):
    return (root / rel).read_text(encoding="utf-8", errors="replace")


def blank(text, comments=True, strings=True):
    """`text` with comments and strings made spaces; lines stay in place."""
    def spaces(match):
        token = match.group(0)
        if token[0] == "/" and comments or token[0] in "\"'" and strings:
            return re.sub(r"[^\n]", " ", token)
        return token
    return TOKEN.sub(spaces, text)


def waived(text, rule):
    """Is there a comment "check: RULE: reason" in `text`?"""
    return re.search(r"check: %s: \S" % re.escape(rule), text) is not None


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def main(check, argv=None):
    """Run check(root, arguments) as a program: CHECK [ROOT] [ARGUMENTS]"""
    argv = sys.argv[1:] if argv is None else argv
    root = pathlib.Path(argv[0] if argv else ".").resolve()
    try:
        problems = list(check(root, argv[1:]))
    except Skip as skip:
        print(f"skipped: {skip}")
        return 77
    for rel, line, text in problems:
        print(f"{rel}:{line}: {text}")
    return 1 if problems else 0
