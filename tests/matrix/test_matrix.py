# SPDX-License-Identifier: Apache-2.0
"""The same playbooks by each release of Ansible that is supported, with modules on the oldest and newest Pythons it knows."""

import collections
import os
import re
import warnings

import pytest

from tests.plays import ROOT, each_result, play
from tests.pythons import find_python
from tests.site import read, write
from tests.tree import assert_same

from .rows import ROWS, programs

PAGE = os.path.join(ROOT, "README.md")
MARKED = "(?s)(<!-- matrix -->\n).*?(<!-- /matrix -->)"
HEAD = "| ansible-core | on Python | modules on Python | seed, link, restart | credentials | bad input | log |\n"
HEAD += "| --- | --- | --- | --- | --- | --- | --- |\n"
BOOKS = os.path.join(ROOT, "tests", "matrix")
DONE = collections.defaultdict(dict)  # row -> what was tried -> how it ended
COLUMNS = ("cycle", "secret", "bad_input", "log")

row_and_target = pytest.mark.parametrize(
    "row, target",
    [(row, target) for row in ROWS for target in ("own", *row.targets)],
    ids=lambda value: value.name if hasattr(value, "name") else value,
)


@pytest.fixture
def ansible(row):
    """str: where the programs of a row's Ansible are."""
    found = programs(row)
    if found is None:
        missing("Python " + row.python, "ansible-core " + row.core)
    return found


def missing(what, whose):
    """Say that a part of the matrix cannot be tried on this machine."""
    warnings.warn("NOT TESTED: {} needs {}, which is not on PATH or in pyenv".format(whose, what), stacklevel=2)
    pytest.skip("the matrix lacks {} for {}".format(what, whose))


@pytest.fixture
def wanted(site):
    """dict: variables of a site, and of credentials beside it."""
    for name in ("secret", "no-token"):
        os.mkdir(os.path.join(site.top, name))
    write(os.path.join(site.top, "secret", "token"), "do not print this")
    return {
        "top": site.top, "cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False,
        "cm_persist_lease": False, "cm_persist_secret_source": os.path.join(site.top, "secret"), "cm_persist_secret_user": "",
        "cm_persist_secret_target": os.path.join(site.top, "run", "account"),
    }  # fmt: skip


def on(target):
    """list of str: arguments that have the modules run by this Python; by Ansible's own, from where they lie, for "own"."""
    if target == "own":
        return []
    python = find_python(target)
    if python is None:
        missing("Python " + target, "a target")
    return ["-e", "ansible_python_interpreter=" + python]


@row_and_target
def test_seed_link_restart_secret_and_back(row, target, ansible, site, wanted):
    assert_version(row, ansible)
    code, told = each_result(os.path.join(BOOKS, "cycle.yml"), wanted, *on(target), programs=ansible)
    assert code == 0, told
    ours = [line for line in told if "_" in line["module"] and "." not in line["module"]]
    assert [(line["module"], line["result"]["changed"]) for line in ours] == [
        ("persist_seed", True), ("persist_seed", True), ("persist_link", True), ("persist_seed", False), ("persist_link", False),
        ("secret_link", True), ("secret_link", False), ("persist_info", False), ("persist_link", True),
    ]  # fmt: skip
    rehearsed, seeded, linked, already, still = (line["result"] for line in ours[:5])
    assert rehearsed["steps"] == seeded["steps"] and rehearsed["diff"]
    assert [result["paths"][0]["state"] for result in (seeded, linked, already, still)] == [
        "seeded",
        "linked",
        "already",
        "already",
    ]
    assert seeded["paths"][0]["files"] == 3 and ours[7]["result"]["healthy"]
    assert "do not print" not in str(told)
    assert_same(site.path(), site.stored())  # which is what the way back brought
    assert read(os.path.join(wanted["cm_persist_secret_target"], "token")) == "do not print this"
    for column in ("cycle", "secret"):
        DONE[row].setdefault(column, set()).add(target)


@row_and_target
def test_bad_input_changes_nothing(row, target, ansible, site, wanted):
    before = site.untouched()
    code, told = each_result(os.path.join(BOOKS, "bad_input.yml"), wanted, *on(target), programs=ansible)
    assert code == 0 and len(told) == 9 and all(line["failed"] for line in told), told
    named = ["relative", site.top + "/a/b", site.top + "/nowhere", "/etc/hostname", site.top + "/no-store"]
    named += [None, None, site.top + "/no-token", "/"]
    for line, place in zip(told, named):
        result = line["result"]
        assert "Traceback" not in str(result), result
        if place:
            assert result["where"] == place and result["hint"] in result["msg"] and place in result["msg"], result
    assert "perhaps" in told[5]["result"]["msg"] and "force" in told[6]["result"]["msg"]
    assert site.untouched() == before and not os.path.exists(os.path.join(site.top, "run"))
    DONE[row].setdefault("bad_input", set()).add(target)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_log_of_a_start_and_of_a_refusal(row, ansible, site, wanted):
    wanted = {name: value for name, value in wanted.items() if name != "top"}
    for expected in (" seeded, 3 files, ", " restart ("):
        done = play("start.yml", wanted, programs=ansible, ANSIBLE_STDOUT_CALLBACK="cm_persist")
        lines = done.stdout.splitlines()
        assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr
        assert all(line.startswith("cm_persist: ") for line in lines) and len(lines) <= 3, lines
    done = play("secret.yml", wanted, programs=ansible, ANSIBLE_STDOUT_CALLBACK="cm_persist")
    assert done.returncode == 0, done.stdout + done.stderr
    refused = play(
        "start.yml", dict(wanted, cm_persist_missing="perhaps"), programs=ansible, ANSIBLE_STDOUT_CALLBACK="cm_persist"
    )
    lines = refused.stdout.splitlines()
    assert refused.returncode != 0 and "FAILED" in lines[-2] and "perhaps" in lines[-2], refused.stdout
    assert lines[-1].startswith("cm_persist: what to do: Correct the variables")
    DONE[row]["log"] = {"own"}


def assert_version(row, ansible):
    from tests.site import run

    said = run(os.path.join(ansible, "ansible"), "--version")
    assert re.search(r"\[core {}\]".format(re.escape(row.version)), said) and re.search(
        r"python version = {}\.".format(re.escape(row.python)), said
    ), said


def table_line(row):
    """str: the line of the README's table for a row."""
    cells = []
    for column in COLUMNS:
        expected = {"own"} if column == "log" else {"own", *row.targets}
        cells.append("passed" if DONE[row].get(column) == expected else "-")
    return "| {} | {} | {} | {} |\n".format(row.version, row.python, ", ".join(row.targets), " | ".join(cells))


def test_the_readme_has_the_table(request):
    """Last: `make matrix` has it written, any other run compares the rows that it has run whole."""
    with open(PAGE) as file:
        text = file.read()
    lines = {row: table_line(row) for row in ROWS}
    if request.config.getoption("--publish-matrix"):
        assert not [line for line in lines.values() if " - " in line], "not all was tried, or well: the README is left as it was"
        text, count = re.subn(MARKED, lambda found: found[1] + HEAD + "".join(lines.values()) + found[2], text)
        assert count == 1, "the README has no place for the table"
        with open(PAGE, "w") as file:
            file.write(text)
    ran = [row for row in ROWS if " - " not in lines[row]]
    shown = re.search(MARKED, text).group(0)
    assert all(lines[row] in shown for row in ran) and shown.count("\n") == len(ROWS) + 3
