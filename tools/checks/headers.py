#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""headers.py - fail when a header does not compile alone.

headers.py ROOT ARCH CC CXX: public headers as strict C11 and C++17, without
warnings; those of src and arch/ARCH as the library is compiled.
"""
import concurrent.futures
import shutil
import subprocess
import sys

import tree

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
PUBLIC = WARNINGS + ["-pedantic", "-Iinclude"]
# A POSIX header in strict C needs POSIX asked for.
POSIX = ["-D_POSIX_C_SOURCE=200809L"]


def command(rel, language, arch, cc, cxx):
    if rel.startswith("include/"):
        posix = POSIX if rel.endswith("/process.h") else []
        if language == "c++":
            return [cxx, "-std=c++17", *PUBLIC]
        return [cc, "-std=c11", *PUBLIC, *posix]
    return [cc, "-std=gnu11", "-D_GNU_SOURCE", *WARNINGS, "-Iinclude", "-Isrc",
            "-Iarch", f"-Iarch/{arch}"]


def compile_alone(root, rel, language, arch, cc, cxx):
    """Twice in one file: the guard works too. Returns what was said."""
    source = f'#include "{root / rel}"\n' * 2
    done = subprocess.run(
        command(rel, language, arch, cc, cxx) + ["-x", language, "-"],
        input=source, text=True, cwd=root, capture_output=True, check=False)
    if done.returncode == 0:
        return None
    return done.stderr.strip().split("\n")[0]


def check(root, arguments):
    arch, cc, cxx = (arguments + ["x86_64", "cc", "c++"][len(arguments):])[:3]
    for program in (cc, cxx):
        if shutil.which(program) is None:
            raise tree.Skip(f"no {program}")
    jobs = []
    for rel in tree.files(root, {".h"}, ("include", "src", "arch")):
        if rel.startswith("arch/") and not rel.startswith(
                (f"arch/{arch}/", "arch/asm.h")):
            continue
        jobs.append((rel, "c"))
        if rel.startswith("include/"):
            jobs.append((rel, "c++"))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda job: compile_alone(root, *job, arch, cc, cxx),
                        jobs)
        for (rel, language), text in zip(jobs, said):
            if text is not None:
                yield rel, 1, f"alone as {language}: {text}"


if __name__ == "__main__":
    sys.exit(tree.main(check))
