# SPDX-License-Identifier: Apache-2.0
"""Which wing may import which: a file imports its own wing and lower floors, and wings on one floor do not know each other."""

import ast
import glob
import os
import re

import pytest

LOGIC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "module_utils", "cm_persist")
FLOORS = [
    floor.split()
    for floor in (
        "errors", "text paths plan module_result", "fs", "tree host", "store secret", "lease original", "upgrade", "seed link",
        "report",
    )
]  # fmt: skip
FLOOR = {wing: number for number, wings in enumerate(FLOORS) for wing in wings}
FILES = sorted(os.path.relpath(path, LOGIC) for path in glob.glob(LOGIC + "/**/*.py", recursive=True))


def wing_of(path):
    return path.split(os.sep)[0].replace(".py", "")


def imported(path):
    """Yield the wing of each import in a file, those inside functions too."""
    with open(os.path.join(LOGIC, path), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    depth = path.count(os.sep) + 1
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from ([node.module.split(".")[0]] if node.module else (alias.name for alias in node.names))


@pytest.mark.parametrize("path", [path for path in FILES if path != "__init__.py"])
def test_a_file_imports_its_own_wing_and_lower_floors_alone(path):
    own = wing_of(path)
    above = {wing for wing in imported(path) if wing != own and FLOOR[wing] >= FLOOR[own]}
    assert not above, "{} is on floor {} and must not import {}".format(own, FLOOR[own], ", ".join(sorted(above)))


@pytest.mark.parametrize("path", [path for path in FILES if wing_of(path) in ("fs", "tree") and "__init__" not in path])
def test_files_and_trees_know_nothing_of_a_volume_s_books(path):
    with open(os.path.join(LOGIC, path), encoding="utf-8") as file:
        text = file.read().lower()
    assert not [word for word in ("the store", "state path", "state_path") if word in text]


@pytest.mark.parametrize("path", [path for path in FILES if os.path.basename(path) == "__init__.py" and os.sep in path])
def test_each_wing_says_what_it_is_for_and_holds_no_code(path):
    with open(os.path.join(LOGIC, path), encoding="utf-8") as file:
        (docstring,) = ast.parse(file.read()).body
    assert 2 <= docstring.value.value.strip().count("\n") <= 11


def test_the_drawing_for_contributors_is_the_code():
    edges = {(wing_of(path), wing) for path in FILES if path != "__init__.py" for wing in imported(path)}
    edges = {(above, below) for above, below in edges if above != below}

    def reached(top, without):
        found, ahead = set(), [top]
        while ahead:
            above = ahead.pop()
            below = {wing for start, wing in edges - {without} if start == above} - found
            found |= below
            ahead += below
        return found

    needed = {edge for edge in edges if edge[1] not in reached(edge[0], edge)}
    with open(os.path.join(LOGIC, "..", "..", "CONTRIBUTING.md"), encoding="utf-8") as file:
        page = file.read()
    assert set(re.findall(r"^  (\w+) --> (\w+)$", page, re.MULTILINE)) == needed
    assert "> " + " | ".join(" ".join(floor) for floor in FLOORS) in page.splitlines()
