#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""api.py - fail when a public declaration does not say what it must.

1. Before each ZK_API stands a /** */ block with @retval, @context, @threads,
   @memory and @since, and every @param of it is a parameter.
2. A call whose last parameter is "deadline", and one marked ZK_SWITCHES, says
   "may switch" in @context, or "never switches" is wrong; no other call does.
3. zokio.h includes every public header that needs nothing but C.
4. include/meson.build installs every header there is.
"""
import re
import sys

import tree

FIELDS = ("@retval", "@context", "@threads", "@memory", "@since")
# Need more than C, or are not for the running program.
APART = {"process.h", "testing.h"}

DECLARATION = re.compile(r"^ZK_API\b[^;{]*;", re.M)
NAME = re.compile(r"(zk_[a-z0-9_]+)\s*\(")


def block_before(text, offset):
    """The doc comment that ends right before `offset`, or None."""
    head = text[:offset].rstrip()
    if not head.endswith("*/"):
        return None
    start = head.rfind("/**")
    if start < 0 or "*/" in head[start:-2]:
        return None
    return head[start:]


def parameters(declaration, name):
    """Names in the parameter list, those of function pointers too."""
    rest = declaration[declaration.index(name) + len(name):]
    return re.findall(r"[a-z_0-9]+(?=\s*(?:\[\w*\])?\s*[,)])", rest)


def switches(declaration):
    last = re.search(r"(\w+)\s*\)\s*;$", declaration)
    return "ZK_SWITCHES" in declaration or (
        last is not None and last.group(1) == "deadline")


def declaration_problems(name, declaration, block):
    if block is None:
        yield f"{name}: no /** */ block before it"
        return
    for field in FIELDS:
        if field not in block:
            yield f"{name}: no {field}"
    for param in re.findall(r"@param\s+(\w+)", block):
        if param not in parameters(declaration, name):
            yield f"{name}: @param {param} is not a parameter"
    context = block.partition("@context")[2].partition("@")[0]
    if switches(declaration) != ("may switch" in context):
        yield f"{name}: @context and the declaration disagree on switching"


def check(root, _):
    headers = tree.files(root, {".h"}, ("include",))
    for rel in headers:
        text = tree.read(root, rel)
        for found in DECLARATION.finditer(text):
            line = tree.line_of(text, found.start())
            declaration = found.group(0)
            name = NAME.search(declaration)
            if name is None:
                yield rel, line, "ZK_API before what is not a zk_ function"
                continue
            block = block_before(text, found.start())
            for problem in declaration_problems(name.group(1), declaration,
                                                block):
                yield rel, line, problem
    whole = tree.read(root, "include/zokio.h")
    installed = tree.read(root, "include/meson.build")
    for rel in headers:
        name = rel.removeprefix("include/")
        if f"'{name}'" not in installed:
            yield "include/meson.build", 1, f"{name} is not installed"
        if (name.startswith("zokio/") and name.split("/")[1] not in APART
                and f"<{name}>" not in whole):
            yield "include/zokio.h", 1, f"<{name}> is missing"


if __name__ == "__main__":
    sys.exit(tree.main(check))
