# SPDX-License-Identifier: Apache-2.0
"""Whole lives of managers, drawn at random: what an application wrote is found, and nothing gets older silently.

A failure prints the life, made as short as it can be, and its seed: LIFE=SEED tries that one alone.
"""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest

from module_utils.cm_persist.fs.node import ParentDir
from module_utils.cm_persist.link import plan as link_plan
from module_utils.cm_persist.link.steps import SetAside, remove_original

from .deeds import CRASHED, HUNG, nobody_else
from .lives import draw, shortened
from .lives_books import BookWorld, for_books
from .living import live
from .promise import LOST, OLDER, OWNER, STUCK, UNSETTLED, UNTOLD
from .scene import LOST as LOST_COLUMN
from .scene import STUCK as STUCK_COLUMN
from .scene import TORN as TORN_COLUMN

SAMPLE, ALL = 300, 10_000
CHUNK = 25  # lives that one process leads before it takes more
MOST_TOLD = 3  # failures that are made short and told
COLUMNS = {
    LOST: LOST_COLUMN, UNTOLD: LOST_COLUMN, OLDER: TORN_COLUMN, OWNER: TORN_COLUMN,
    HUNG: STUCK_COLUMN, CRASHED: STUCK_COLUMN, UNSETTLED: STUCK_COLUMN, STUCK: STUCK_COLUMN,
}  # fmt: skip
COUNTED = ("acts", "killed", "failed", "refused for good")
PLANTED = 80  # lives among which a planted fault is noticed


@pytest.fixture
def memory(file_system):
    """str: a directory in memory."""
    return file_system("tmpfs")


def seeds_of(most):
    """list of int: the lives to lead."""
    return [int(os.environ["LIFE"])] if "LIFE" in os.environ else list(range(most))


def test_what_was_acknowledged_is_found_and_nothing_gets_older_silently(memory, some, tally):
    seeds = seeds_of(ALL)
    seeds = seeds[: len(some(seeds, SAMPLE))]
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    counts, wrong = Counter(), {}
    with nobody_else(), ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        for counted, found in pool.map(judged, chunks, [memory] * len(chunks)):
            counts.update(counted)
            wrong.update(found)
        stories = list(pool.map(told, list(wrong)[:MOST_TOLD], [memory] * MOST_TOLD))
    problems = [(COLUMNS[kind], text) for found in wrong.values() for kind, text in found[:1]]
    tally.count("whole lives", len(seeds), problems)
    for what in COUNTED:
        tally.count("whole lives, {} in these".format(what), counts[what])
    assert not wrong, "\n\n".join(["{} of {} lives went wrong: {}".format(len(wrong), len(seeds), list(wrong)), *stories])


def test_playbooks_keep_the_promise(memory, full, tally):
    seeds, problems, wrong = seeds_of(ALL // 1000 if full else 1), [], []
    for seed in seeds:
        story = live(for_books(draw(seed)), memory, BookWorld)
        problems += [(COLUMNS[kind], text) for kind, text in story.problems[:1]]
        wrong += ["\n".join(["LIFE={}".format(seed), *story.lines])] if story.problems else []
    tally.count("whole lives, by playbooks", len(seeds), problems)
    assert not wrong, "\n\n".join(wrong)


def lose(step, _run):
    """A SetAside that removes what it should keep."""
    with ParentDir(step.spec.path) as parent:
        remove_original(parent)


PLANTS = {
    LOST: mock.patch.object(SetAside, "execute", lose),
    OLDER: mock.patch.object(link_plan, "has_diverged", lambda _path: False),
}


@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_fault_is_noticed(kind, memory):
    with nobody_else():
        for seed in range(PLANTED):
            life = draw(seed)
            with PLANTS[kind]:
                if kind not in first_kinds(live(life, memory)):
                    continue
                _life, story = shortened(life, memory)
            if not live(life, memory).problems:
                assert kind in first_kinds(story) and len(story.lines) < 12, "it is made short"
                return
    raise AssertionError("nothing noticed it")


def first_kinds(story):
    """set of str: what went wrong first."""
    return {kind for kind, _text in story.problems}


def judged(seeds, top):
    """tuple: counts of what was done in these lives, and {seed: problems} of those that went wrong."""
    counts, wrong = Counter(), {}
    for seed in seeds:
        story = live(draw(seed), top)
        counts.update(story.counts)
        if story.problems:
            wrong[seed] = story.problems
    return counts, wrong


def told(seed, top):
    """str: what happens in the life of a seed, which goes wrong, made as short as possible."""
    _life, story = shortened(draw(seed), top)
    return "\n".join(["LIFE={}".format(seed), *story.lines])
