# SPDX-License-Identifier: Apache-2.0
"""What the pages say is so: every error stands in docs/errors.md, every command can be given, and the ways out of a trouble lead
out of it: they are run as they stand on the page."""

import ast
import glob
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys

import pytest
import yaml

from tests.site import read, run, write
from tests.tree import assert_same, read_tree
from tests.upgrades import upgraded

from .test_playbooks import play

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.dirname(sys.executable)
LOGIC = sorted(glob.glob(os.path.join(ROOT, "module_utils", "cm_persist", "*.py")))
SHORT = 12  # characters: what is not longer may stand anywhere
HOLE = "\0"  # stands for a placeholder
# Whose found is made elsewhere, as (file, text of the argument): the helpers that are called for it, in which all texts count.
MADE_BY = {
    ("outcome.py", "traces"): ("outcome.py", "_traces"),
    ("link_steps.py", "found.found"): ("manifest.py", "compare"),
    ("seed.py", "found.absent"): ("store.py", "find_store"),
    ("in_use.py", "User.describe"): ("in_use.py", "describe"),
    ("in_use.py", "does"): ("in_use.py", "_uses"),
}
# Errors that the kernel's own are turned into give its words; these are ours among them.
KERNEL = ("OSError", "PermissionError")


def page(*path):
    return read(os.path.join(ROOT, *path))


def said(node, scope):
    """list of str: the texts that an expression can give, HOLE for what is known only when it is run; None where that is all."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return (said(node.body, scope) or []) + (said(node.orelse, scope) or []) or None
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        sides = [said(side, scope) for side in (node.left, node.right)]
        return None if sides == [None, None] else sum((side or [] for side in sides), [])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        inner = [text for each in node.args for text in said(each, scope) or []]
        text = said(node.func.value, scope)
        return text and [re.sub(r"\{[^{}]*\}", HOLE, each) for each in text] + inner
    if isinstance(node, ast.Tuple):
        return sum((said(each, scope) or [] for each in node.elts), [])
    if isinstance(node, ast.Name) and scope is not None:
        values = [value for name, value in assigned(scope) if name == node.id]
        return sum((said(value, None) or [] for value in values), []) or None
    return None


def assigned(scope):
    """Yield (name, expression) of what a function assigns."""
    for node in ast.walk(scope):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []:
            pairs = zip(target.elts, node.value.elts) if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) else ()
            for name, value in pairs or [(target, node.value)]:
                if isinstance(name, ast.Name):
                    yield name.id, value


def errors_of(path, names):
    """Yield (line, expression, list of str or None) of the second argument of each call of one of these classes in a file."""
    tree = ast.parse(read(path))
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names and len(node.args) > 1:
            around = [each for each in scopes if each.lineno <= node.lineno <= each.end_lineno]
            scope = max(around, key=lambda each: each.lineno, default=None)
            argument = node.args[1 if getattr(node.func, "id", "") != "UnusableError" else 0]
            yield node.lineno, ast.unparse(argument), said(argument, scope)


if __name__ == "__main__":
    classes = [n.name for n in ast.parse(read(os.path.join(ROOT, "module_utils/cm_persist/errors.py"))).body if isinstance(n, ast.ClassDef)]
    for path in LOGIC:
        for line, text, got in errors_of(path, classes + list(KERNEL)):
            print(os.path.basename(path), line, got if got else "???? " + text)
    for got in errors_of(os.path.join(ROOT, "container/variables.py"), ["UnusableError"]):
        print(got)
