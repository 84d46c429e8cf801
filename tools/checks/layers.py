#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""layers.py - fail when a file includes what it must not.

1. src/M may include src/N only if N is in M's line below.
2. From another module only its faces may be included: N/N.h, every header of
   utils, and those in FACES. The rest of N is private to it.
3. include/ includes only <zokio/...> and C or POSIX headers, never "...".
4. #if and #ifdef stay in the files of CONDITIONAL. Include guards, __cplusplus
   and "#ifndef ZK_TUNABLE" with its default are not meant.
5. Examples include only public headers.
"""
import re
import sys

import tree

# module: what it may include besides itself. Top to bottom is layer 0 to 4; a
# module may name only modules above its own line, so no cycle can be written.
LAYERS = """
utils:
platform:  utils
memory:    utils platform
context:   utils platform memory
time:      utils platform
metrics:   utils platform
scheduler: utils platform memory context time metrics
sync:      utils platform memory time scheduler
future:    utils platform memory time scheduler sync
io:        utils platform memory time metrics scheduler
runtime:   utils platform memory context time metrics scheduler sync future io
net:       utils platform memory time scheduler sync future io runtime
fs:        utils platform memory time scheduler sync future io runtime
process:   utils platform memory time scheduler sync future io runtime
observe:   utils platform memory context time metrics scheduler sync future io \
           runtime net
testing:   utils platform memory context time metrics scheduler sync future io \
           runtime
"""
# Second faces, besides N/N.h: who may see them (None: everyone above).
FACES = {
    "scheduler/worker.h": {"io"},         # the backend hangs off the worker
    "context/annotate.h": None,
    "context/exception.h": None,
    "scheduler/waitq.h": None,
    "io/backend.h": {"runtime", "testing"},
}
CONDITIONAL = re.compile(
    r"^(arch/|src/platform/|src/utils/(compiler|fault)\.h$"
    r"|src/context/annotate\.h$|src/io/backends/registry\.c$"
    r"|include/zokio/base\.h$)")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
IF = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b")
HARMLESS = re.compile(
    r"^\s*#\s*(ifndef\s+(ZK|ZOKIO)_(?!HAVE_)|ifdef\s+__cplusplus)")


def parse(text):
    allowed = {}
    for line in text.replace("\\\n", " ").split("\n"):
        if not line.strip():
            continue
        module, names = line.split(":")
        for name in names.split():
            if name not in allowed:
                raise ValueError(f"{module} names {name}: not above it")
        allowed[module] = set(names.split())
    return allowed


def foreign(module, name, allowed):
    """What is wrong with `module` including "name", or None."""
    other = name.split("/")[0]
    if "/" not in name or other not in allowed or other == module:
        return None
    if other not in allowed.get(module, ()):
        return f"{module} may not use {other}"
    if other == "utils" or name == f"{other}/{other}.h":
        return None
    if name in FACES and (FACES[name] is None or module in FACES[name]):
        return None
    return f"{name} is private to {other}"


def includes(rel, text, allowed):
    part = rel.split("/")
    module = part[1] if part[0] == "src" else None
    for number, line in enumerate(text.split("\n"), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        kind, name = found.groups()
        if part[0] == "include" and kind == '"':
            yield rel, number, f'public header includes "{name}"'
        elif part[0] == "examples" and name.split("/")[0] in allowed:
            yield rel, number, f'example includes "{name}"'
        elif module is not None and kind == '"':
            problem = foreign(module, name, allowed)
            if problem:
                yield rel, number, problem


def check(root, _):
    allowed = parse(LAYERS)
    for rel in tree.files(root, {".c", ".h"}, ("src",)):
        module = rel.split("/")[1]
        if module not in allowed:
            yield rel, 1, f"module {module} has no line in LAYERS"
    for rel in tree.files(root, {".c", ".h", ".S"},
                          ("include", "src", "arch", "examples")):
        text = tree.blank(tree.read(root, rel), strings=False)
        yield from includes(rel, text, allowed)
        if CONDITIONAL.match(rel) or rel.startswith("examples/"):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if IF.match(line) and not HARMLESS.match(line):
                yield rel, number, f"conditional: {line.strip()}"


if __name__ == "__main__":
    sys.exit(tree.main(check))
