# SPDX-License-Identifier: Apache-2.0
"""SIGKILL before every system call of the link phase that changes something, and errors from each; one more run completes it."""

import pytest

from .inject import all_points
from .link_scene import SITUATIONS
from .test_failed_calls import one_error_each
from .test_killed_calls import kills

FEW = 12  # points of each situation in a sample


def by_label(situation):
    return situation.label


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_killed_before_any_change(situation, top, some, side_by_side, tally):
    assert kills(situation, top, some(all_points(top, situation), FEW), side_by_side, tally) == []


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_a_change_fails(situation, top, some, side_by_side, tally):
    assert one_error_each(situation, top, some, side_by_side, tally) == []


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_undisturbed_it_ends_as_it_should(situation, top):
    """What the others call right is not so before the act."""
    with situation.scene(top) as scene:
        before = [problem for path in scene.paths for problem in scene.problems_at_the_end(path)]
        assert before, "the situation is its own end"
        assert scene.problems_after_fault() + scene.problems_after_rerun() == []
