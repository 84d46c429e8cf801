#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""symbols.py - fail when the library shows what it should not.

symbols.py ROOT SHARED [STATIC]
1. SHARED exports the functions that the public headers mark ZK_API, and
   nothing else.
2. Every global symbol of STATIC begins with zk_ or zk__.
3. The version in base.h is that of meson.build and of SHARED's file name.
4. SHARED needs no executable stack and has no text relocations.
"""
import os
import re
import shutil
import subprocess
import sys

import tree

# The linker's own.
OURS_NOT = {"ZOKIO_0"}


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          capture_output=True).stdout


def defined(path, *options):
    """Names of the global symbols that a file defines."""
    names = set()
    for line in output("nm", "--defined-only", "--extern-only", *options,
                       path).split("\n"):
        part = line.split()
        if len(part) == 3:
            names.add(re.sub(r"@.*", "", part[2]))
    return names - OURS_NOT


def declared(root):
    names = {}
    for rel in tree.files(root, {".h"}, ("include",)):
        text = tree.blank(tree.read(root, rel))
        for found in re.finditer(r"^ZK_API\b[^;{]*?(zk_\w+)\s*\(", text, re.M):
            names[found.group(1)] = (rel, tree.line_of(text, found.start(1)))
    return names


def version_problems(root, shared):
    base = tree.read(root, "include/zokio/base.h")
    text = re.search(r'ZK_VERSION_STRING "([^"]*)"', base).group(1)
    number = ".".join(
        re.search(rf"ZK_VERSION_{part} (\d+)", base).group(1)
        for part in ("MAJOR", "MINOR", "PATCH"))
    build = re.search(r"version: '([^']*)'",
                      tree.read(root, "meson.build")).group(1)
    name = os.path.basename(os.path.realpath(shared))
    if not text == number == build:
        yield ("include/zokio/base.h", 1,
               f"versions differ: {text}, {number}, meson.build {build}")
    if not name.endswith(".so." + build):
        yield "meson.build", 1, f"{name} is not called .so.{build}"


def check(root, arguments):
    if shutil.which("nm") is None or shutil.which("readelf") is None:
        raise tree.Skip("no nm or readelf")
    shared, static = (arguments + [None])[:2]
    have, want = defined(shared, "--dynamic"), declared(root)
    for name in sorted(have - set(want)):
        yield shared, 0, f"exports {name}, which no public header declares"
    for name in sorted(set(want) - have):
        yield *want[name], f"{name} is declared but not exported"
    for name in sorted(defined(static) if static else ()):
        if not name.startswith("zk_"):
            yield static, 0, f"global symbol {name}"
    yield from version_problems(root, shared)
    if re.search(r"GNU_STACK.*\n?.*RWE", output("readelf", "-lW", shared)):
        yield shared, 0, "asks for an executable stack"
    if "TEXTREL" in output("readelf", "-dW", shared):
        yield shared, 0, "has text relocations"


if __name__ == "__main__":
    sys.exit(tree.main(check))
