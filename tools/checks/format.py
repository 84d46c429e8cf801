#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""format.py - fail when clang-format 14 would change a file.

format.py [ROOT] [--fix]: --fix lets it.
"""
import shutil
import subprocess
import sys

import tree

VERSION = "14"


def program():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if path and f"version {VERSION}." in subprocess.run(
                [path, "--version"], capture_output=True, text=True,
                check=True).stdout:
            return path
    raise tree.Skip(f"no clang-format {VERSION}")


def check(root, arguments):
    command = [program(), "--style=file"]
    for rel in tree.files(root, {".c", ".h"}):
        if "--fix" in arguments:
            subprocess.run(command + ["-i", rel], cwd=root, check=True)
            continue
        wanted = subprocess.run(command + [rel], cwd=root, check=True,
                                capture_output=True, text=True).stdout
        have = tree.read(root, rel)
        if wanted != have:
            pairs = zip(wanted.split("\n"), have.split("\n"))
            line = next((n for n, (a, b) in enumerate(pairs, 1) if a != b), 1)
            yield rel, line, "clang-format would change this"


if __name__ == "__main__":
    sys.exit(tree.main(check))
