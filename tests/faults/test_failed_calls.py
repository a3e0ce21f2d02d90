# SPDX-License-Identifier: Apache-2.0
"""System calls of a first start that fail: it does all the same, or it says where and why, and the next start goes on."""

import pytest

from .inject import NAMING, ONE_WORKER, OVERLAY, PLAIN, READS, SCENE, SYNCS, VARIANTS, Variant, all_points, changes_files, disturb
from .scene import LOST, STUCK

ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EINTR")
FEW, FEWER = 8, 5  # points of each variant in a sample
# Without copy_file_range the data goes through this process.
BY_HAND = Variant("plain image, no copy_file_range", faults=("copy_file_range:error=EXDEV",))


def by_label(variant):
    return variant.label


@pytest.mark.parametrize("variant", VARIANTS, ids=by_label)
def test_a_change_fails(variant, top, some, full, side_by_side, tally):
    """All five at every point of a full run in one process; the other variants make the same calls, and take them in turn."""
    points = some(all_points(top, variant, changes_files), FEW)
    if full and variant in (PLAIN, OVERLAY):
        cases = [(point, error) for point in points for error in ERRORS]
    else:
        cases = [(point, ERRORS[number % len(ERRORS)]) for number, point in enumerate(points)]
    problems = attempts(cases, variant, top, side_by_side, wanted=changes_files)
    tally.count("{} from a system call, {}".format(", ".join(ERRORS), variant.label), len(cases), problems)
    assert problems == []


@pytest.mark.parametrize("variant", [PLAIN, OVERLAY, ONE_WORKER, VARIANTS[-1]], ids=by_label)
def test_a_failed_sync_is_no_success_and_nothing_gets_its_name_after_it(variant, top, some, side_by_side, tally):
    points = all_points(top, variant, syncs)
    if variant is not PLAIN:  # of which there are few, and no two alike
        points = some(points, FEWER)
    cases = [(point, "EIO") for point in points]
    problems = attempts(cases, variant, top, side_by_side, wanted=syncs)
    tally.count("EIO from fsync or syncfs, {}".format(variant.label), len(cases), problems)
    assert problems == []


@pytest.mark.parametrize("variant", [PLAIN, OVERLAY, ONE_WORKER, BY_HAND], ids=by_label)
def test_a_read_fails(variant, top, some, side_by_side, tally):
    cases = [(point, "EIO") for point in some(all_points(top, variant, reads), FEWER)]
    problems = attempts(cases, variant, top, side_by_side, wanted=reads)
    tally.count("EIO from a system call that reads, {}".format(variant.label), len(cases), problems)
    assert problems == []


@pytest.mark.parametrize("name, variant", [("copy_file_range", PLAIN), ("copy_file_range", ONE_WORKER), ("pread64", BY_HAND)])
def test_data_that_ends_early_is_an_error(name, variant, top, side_by_side, tally):
    def data(call):
        return call.name == name

    def attempt(point):
        with variant.scene(top) as scene:
            done, _after = disturb(scene, variant, point, "retval=0", wanted=data)
            problems = [] if done.typed else [(LOST, "exit {}: {}".format(done.code, done.error[-500:]))]
            problems += scene.problems_after_fault() + scene.problems_after_rerun()
        return [(kind, "{}: {}".format(point, text)) for kind, text in problems]

    points = all_points(top, variant, data)
    problems = sum(side_by_side(attempt, points), [])
    tally.count("0 bytes from {}, {}".format(name, variant.label), len(points), problems)
    assert problems == []


def one_error_each(situation, top, some, side_by_side, tally):
    """list of (kind, str): what goes wrong where each change of a situation gets one of the five errors, in turn."""
    points = some(all_points(top, situation, changes_files), FEWER)
    cases = [(point, ERRORS[number % len(ERRORS)]) for number, point in enumerate(points)]
    problems = attempts(cases, situation, top, side_by_side, wanted=changes_files)
    tally.count("{} from a system call, {}".format(", ".join(ERRORS), situation.label), len(cases), problems)
    return problems


def attempts(cases, variant, top, side_by_side, wanted):
    """list of (kind, str): what goes wrong in any of the cases, each a Point and an error."""

    def attempt(case):
        point, error = case
        with variant.scene(top) as scene:
            done, after = disturb(scene, variant, point, "error=" + error, wanted)
            problems = judge(scene, done, point.name in SYNCS and error != "EINTR", after)
            problems += scene.problems_after_fault() + scene.problems_after_rerun()
        return [(kind, "{} {}: {}".format(point, error, text)) for kind, text in problems]

    return sum(side_by_side(attempt, cases), [])


def judge(scene, done, unsynced=False, after=()):
    """list of (kind, str): what is wrong with how a start ended; unsynced says that its data may not be on disk."""
    problems = []
    if done.code and not any(place in done.typed for place in (scene.top, scene.store)):
        problems.append((STUCK, "exit {} is no typed error with a path: {}".format(done.code, done.error[-900:])))
    if unsynced and not done.code:
        problems.append((LOST, "a failed sync was taken for success"))
    named = [call.text for call in after if call.name in NAMING]
    if unsynced and named:
        problems.append((LOST, "after a failed sync: {}".format(named[0])))
    return problems


def syncs(call):
    return call.name in SYNCS


def reads(call):
    """bool: whether a call of a trace reads an original or the store."""
    if call.name in ("openat", "open"):
        # Of its arguments: what it returned is not there when it is struck.
        return "O_CREAT" not in call.text and "/" + SCENE in call.text.split(") = ")[0]
    return call.name in (*READS, "copy_file_range") and "/" + SCENE in call.text.split(">")[0]
