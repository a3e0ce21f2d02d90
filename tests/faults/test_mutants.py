# SPDX-License-Identifier: Apache-2.0
"""Each safety rule, broken once in a copy of the product: the tests that are for it must fail there."""

import os
import shutil
import subprocess
import sys

import pytest

from .mutants import MUTANTS

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FAILED = 1  # pytest's exit status for tests that ran and failed; a mutant that does not even start proves nothing


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_noticed(mutant, top, tally):
    mutate(mutant, top)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests],
        cwd=top,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    tally.count("broken rules, each noticed", 1, [] if done.returncode == FAILED else [("stuck", mutant.name)])
    assert done.returncode == FAILED, "the tests {} do not notice it:\n{}".format(mutant.tests, done.stdout[-3000:])


def test_every_rule_stands_once():
    for each in MUTANTS:
        with open(os.path.join(ROOT, each.file)) as file:
            assert file.read().count(each.rule) == 1, each.name
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)


def mutate(mutant, place):
    """Make a copy of the product and its tests in which one rule is broken."""
    for name in ("module_utils", "library", "container", "tests"):
        left_out = shutil.ignore_patterns("__pycache__", "wheels")
        shutil.copytree(os.path.join(ROOT, name), os.path.join(place, name), ignore=left_out)
    shutil.copy(os.path.join(ROOT, "pyproject.toml"), place)
    path = os.path.join(place, mutant.file)
    with open(path) as file:
        text = file.read()
    assert text.count(mutant.rule) == 1, "{}: the rule is not there any more, or twice".format(mutant.file)
    with open(path, "w") as file:
        file.write(text.replace(mutant.rule, mutant.broken))
