# SPDX-License-Identifier: Apache-2.0
"""SIGKILL before every system call of a first start that changes something, and before those of the start that recovers."""

import os
import random

import pytest

from .inject import OVERLAY, PLAIN, VARIANTS, all_points, disturb, points
from .scene import STUCK

KILL = "signal=SIGKILL"
FEW = 12  # points of each variant in a sample
RECOVERIES, FEW_RECOVERIES = 220, 30  # pairs of kills in a full run, and in a sample; a few find nothing left to do


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
def test_killed_before_any_change(variant, top, some, side_by_side, tally):
    assert kills(variant, top, some(all_points(top, variant), FEW), side_by_side, tally) == []


@pytest.mark.parametrize("variant", [PLAIN, OVERLAY], ids=lambda variant: variant.label)
def test_killed_and_killed_again_in_the_recovery(variant, top, full, side_by_side, tally):
    """The seed is new each time; FAULTS_SEED repeats one."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 32))
    draw = random.Random(seed)
    first = all_points(top, variant)
    pairs = [(draw.choice(first), draw.random()) for _ in range((RECOVERIES if full else FEW_RECOVERIES) // 2)]

    def attempt(pair):
        one, where = pair
        with variant.scene(top) as scene:
            kill(scene, variant, one)
            found = points(scene, variant)
        if not found:  # nothing was left to do
            return None
        two = found[int(where * len(found))]
        with variant.scene(top) as scene:
            kill(scene, variant, one)
            problems = kill(scene, variant, two) + scene.problems_after_fault() + scene.problems_after_rerun()
        return [(kind, "{}, then {}: {}".format(one, two, text)) for kind, text in problems]

    results = [result for result in side_by_side(attempt, pairs) if result is not None]
    problems = sum(results, [])
    tally.count("SIGKILL, and SIGKILL in the recovery, {}".format(variant.label), len(results), problems)
    assert len(results) > len(pairs) / 2
    assert problems == [], "FAULTS_SEED={}".format(seed)


def kills(variant, top, points, side_by_side, tally):
    """list of (kind, str): what goes wrong where one process is killed at each of the points, each in a scene of its own."""

    def attempt(point):
        with variant.scene(top) as scene:
            problems = kill(scene, variant, point) + scene.problems_after_fault() + scene.problems_after_rerun()
        return [(kind, "{}: {}".format(point, text)) for kind, text in problems]

    problems = sum(side_by_side(attempt, points), [])
    tally.count("SIGKILL before a system call, {}".format(variant.label), len(points), problems)
    return problems


def kill(scene, variant, point):
    """list of (kind, str): what is wrong with how a start ended one process of which was killed. Has it not been, it fails."""
    done, _none = disturb(scene, variant, point, KILL)
    if not point.who:
        assert done.killed, done
    elif not done.typed:
        return [(STUCK, "exit {} is no typed error: {}".format(done.code, done.error[-500:]))]
    return []
