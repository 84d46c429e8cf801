#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""abi.py - fail when the binary interface is not the one written down.

abi.py ROOT CC [--update]

tests/api/abi.txt holds, sorted, a line for each public function with its
prototype, each complete public type with its size and alignment, each field
with its offset, and each enumerator with its value. A change of it is a change
that users see: --update writes it anew, and the difference goes into the
commit that makes it.
"""
import os
import re
import subprocess
import sys
import tempfile

import tree

RECORD = "tests/api/abi.txt"
STRUCT = re.compile(
    r"typedef struct \w+ \{(?P<body>[^{}]*)\}\s*(?P<name>zk_\w+);", re.S)
ENUM = re.compile(r"\benum \w+ \{(?P<body>[^{}]*)\}", re.S)
FUNCTION = re.compile(r"^ZK_API\b([^;{]*);", re.M)
MARKS = re.compile(r"\b(ZK_API|ZK_MUST_CHECK|ZK_SWITCHES)\s*")


def field_names(body):
    for part in body.split(";"):
        part = re.sub(r"\[[^]]*\]", "", part).strip()
        pointer = re.search(r"\(\*(\w+)\)", part)
        if pointer:
            yield pointer.group(1)
        elif part:
            for name in part.split(","):
                yield re.search(r"(\w+)\s*$", name).group(1)


def probe(texts):
    """A C program that prints the lines for types, fields, enumerators."""
    lines = []
    for text in texts:
        for found in STRUCT.finditer(text):
            name = found.group("name")
            lines.append(f'P("type {name} size %zu align %zu\\n", '
                         f"sizeof({name}), _Alignof({name}));")
            for field in field_names(found.group("body")):
                lines.append(f'P("field {name}.{field} at %zu\\n", '
                             f"offsetof({name}, {field}));")
        for found in ENUM.finditer(text):
            for name in re.findall(r"\b(ZK_\w+)\s*(?=[,=}]|$)",
                                   found.group("body")):
                lines.append(f'P("enum {name} = %lld\\n", (long long){name});')
    return lines


def run(root, cc, headers, lines):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.c")
        with open(source, "w", encoding="utf-8") as f:
            for rel in headers:
                f.write(f"#include <{rel.removeprefix('include/')}>\n")
            f.write("#include <stddef.h>\n#include <stdio.h>\n"
                    "#define P printf\nint main(void)\n{\n"
                    + "\n".join(lines) + "\nreturn 0;\n}\n")
        program = os.path.join(folder, "probe")
        subprocess.run([cc, "-D_GNU_SOURCE", f"-I{root / 'include'}", source,
                        "-o", program], check=True)
        return subprocess.run([program], check=True, text=True,
                              capture_output=True).stdout.splitlines()


def actual(root, cc):
    headers = tree.files(root, {".h"}, ("include",))
    texts = [tree.blank(tree.read(root, rel)) for rel in headers]
    found = run(root, cc, headers, probe(texts))
    for text in texts:
        for function in FUNCTION.finditer(text):
            found.append("call " + " ".join(
                MARKS.sub("", function.group(0)).split()))
    return sorted(found)


def check(root, arguments):
    cc = next((a for a in arguments if not a.startswith("-")), "cc")
    now = actual(root, cc)
    path = root / RECORD
    if "--update" in arguments:
        path.write_text("\n".join(now) + "\n")
        return
    then = path.read_text().split("\n")[:-1]
    for line in sorted(set(then) - set(now)):
        yield RECORD, then.index(line) + 1, f"gone: {line}"
    for line in sorted(set(now) - set(then)):
        yield RECORD, 0, f"new: {line}"


if __name__ == "__main__":
    sys.exit(tree.main(check))
