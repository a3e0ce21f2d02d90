# SPDX-License-Identifier: Apache-2.0
"""SIGKILL before every system call of the link phase that changes something, and errors from each; one more run completes it."""

import pytest

from .inject import all_points, changes_files
from .link_scene import SITUATIONS
from .test_failed_calls import ERRORS, attempts
from .test_killed_calls import kills

FEW, FEWER = 12, 5  # points of each situation in a sample


def by_label(situation):
    return situation.label


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_killed_before_any_change(situation, top, some, side_by_side, tally):
    assert kills(situation, top, some(all_points(top, situation), FEW), side_by_side, tally) == []


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_a_change_fails(situation, top, some, side_by_side, tally):
    """Each point gets one of the five errors, in turn."""
    points = some(all_points(top, situation, changes_files), FEWER)
    cases = [(point, ERRORS[number % len(ERRORS)]) for number, point in enumerate(points)]
    problems = attempts(cases, situation, top, side_by_side, wanted=changes_files)
    tally.count("{} from a system call, {}".format(", ".join(ERRORS), situation.label), len(cases), problems)
    assert problems == []


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_undisturbed_it_ends_as_it_should(situation, top):
    """What the others call right is not so before the act."""
    with situation.scene(top) as scene:
        before = [problem for path in scene.paths for problem in scene.problems_at_the_end(path)]
        assert before, "the situation is its own end"
        assert scene.problems_after_fault() + scene.problems_after_rerun() == []
