# SPDX-License-Identifier: Apache-2.0
"""What is on disk before what, judged on the system calls of a start. A missing fsync of a directory shows in no image.

The judge itself is judged on traces that were doctored: whatever is taken away, moved or added must be found.
"""

import os
import re
import subprocess
import tempfile

import pytest

from . import order
from .order import violations
from .scene import Scene

TWINS = ("/PG_VERSION", "/base/twin")  # two names of one file: one sync is enough
SYNCFS, FSYNC = (), ("-e", "inject=syncfs:error=ENOSYS")
KEPT = "{}|/proc/self/|resumed>|set_robust_list"  # the last is the first call of a forked process
WAYS = pytest.mark.parametrize("way", [SYNCFS, FSYNC], ids=["syncfs", "fsync"])


def trace(top, way, **environment):
    """tuple: a Scene that was started in a directory, and the lines (list of str) of the trace that may concern it."""
    scene, output = Scene(os.path.join(top, "scene")), os.path.join(top, "trace")
    started = scene.start(*order.STRACE, *way, "-o", output, **environment)
    assert not started.returncode, started.stderr
    with open(output, errors="replace") as file:
        lines = [line for line in file.read().splitlines() if re.search(KEPT.format(re.escape(scene.top)), line)]
    assert way == FSYNC or any(re.search(r"\bsyncfs\(.*= 0$", line) for line in lines)
    assert way == SYNCFS or any(re.search(r"\bsyncfs\(.*INJECTED", line) for line in lines)
    return scene, lines


@WAYS
@pytest.mark.parametrize("workers", ["", "3"])
def test_everything_is_on_disk_before_anything_relies_on_it(way, workers, top, tally):
    scene, lines = trace(top, way, WORKERS=workers)
    assert not workers or len({line.split(" ")[0] for line in lines}) > int(workers)
    found = violations(lines, scene)
    syncs = [call for call in order.calls(lines) if call.name in order.SYNCS]
    tally.count("power loss, the order of syncs in a trace", len(syncs), [("torn", each) for each in found])
    assert not found


@pytest.fixture(scope="module", params=[SYNCFS, FSYNC], ids=["syncfs", "fsync"])
def traced(request, scratch):
    """tuple: the lines of a trace of one process, so that none is interrupted by another's, and a judge: a callable that

    takes them doctored and gives the violations (set of str) that this made.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as top:
        try:
            scene, lines = trace(top, request.param, WORKERS="0")
            before = set(violations(lines, scene))
            yield lines, lambda doctored: set(violations(doctored, scene)) - before
        finally:
            subprocess.run(["chattr", "-R", "-f", "-i", top], check=False)


def last(lines, pattern):
    """int: where the last line lies that a pattern matches."""
    found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    assert found, pattern
    return found[-1]


def test_every_sync_that_is_taken_away_is_missed(traced):
    lines, judge = traced
    lasts = {}  # of several of one directory the last is enough
    for call in order.calls(lines[: first_change_of_an_original(lines)]):
        if call.name in order.SYNCS and not call.paths[0].endswith(TWINS):
            lasts[call.name, call.paths[0]] = call
    assert lasts
    unnoticed = [name for name, call in lasts.items() if not judge(lines[: call.end - 1] + lines[call.end :])]
    assert unnoticed == []


def first_change_of_an_original(lines):
    """int: on which line it is renamed."""
    return min(number for number, line in enumerate(lines) if re.search(r"renameat2?\(.*-initial\"", line))


def test_a_sync_that_failed_is_none(traced):
    lines, judge = traced
    number = last_sync_before_publishing(lines)
    failed = lines[number].replace("= 0", "= -1 EIO (Input/output error)")
    assert judge([*lines[:number], failed, *lines[number + 1 :]])


def test_a_sync_after_publishing_is_too_late(traced):
    lines, judge = traced
    number, published = last_sync_before_publishing(lines), last(lines, r'renameat2\(.*"resources"')
    assert judge([*lines[:number], *lines[number + 1 : published + 1], lines[number], *lines[published + 1 :]])


def test_a_change_after_the_sync_is_not_held_by_it(traced):
    lines, judge = traced
    number = last_sync_before_publishing(lines)
    change = lines[last(lines, r"fchmod\(.*/resources-\w+/tree/plugin.yaml>")]
    assert judge([*lines[: number + 1], change, *lines[number + 1 :]])


def test_nor_is_one_that_went_on_while_it_was_synced(traced):
    lines, judge = traced
    number = last_sync_before_publishing(lines)
    pid, call = lines[last(lines, r"fchmod\(.*/resources-\w+/tree/plugin.yaml>")].split(None, 1)
    head, tail = call.rsplit(")", 1)
    halves = "{} {} <unfinished ...>".format(pid, head), "{} <... fchmod resumed>){}".format(pid, tail)
    assert judge([*lines[:number], halves[0], lines[number], halves[1], *lines[number + 1 :]])


def test_a_call_that_nobody_knows_is_a_change(traced):
    lines, judge = traced
    number = last_sync_before_publishing(lines)
    change = re.sub(r"fchmod\((.*>).*", r"newcall(\1) = 0", lines[last(lines, r"fchmod\(.*/resources-\w+/tree>")])
    assert "newcall" in change
    assert judge([*lines[: number + 1], change, *lines[number + 1 :]])


def test_publishing_must_not_replace(traced):
    lines, judge = traced
    assert judge([line.replace("RENAME_NOREPLACE", "0") for line in lines])


def test_no_original_is_touched_before_the_record(traced):
    lines, judge = traced
    moved, recorded = first_change_of_an_original(lines), last(lines, r'rename.*"record.json"')
    assert judge([*lines[:recorded], lines[moved], *lines[recorded:moved], *lines[moved + 1 :]])


def test_a_record_that_is_written_in_place_is_none(traced):
    lines, judge = traced
    recorded = last(lines, r'rename.*"record.json"')
    assert judge(lines[:recorded] + lines[recorded + 1 :])


def test_a_manifest_is_on_disk_before_its_path_is_published(traced):
    lines, judge = traced
    number = next(number for number, line in enumerate(lines) if re.search(r"fsync\(.*/manifests>\)", line))
    assert judge(lines[:number] + lines[number + 1 :])


def test_an_empty_trace_proves_nothing(traced):
    _lines, judge = traced
    assert len(judge([])) == 4  # neither path was published, no record written, no original linked


def last_sync_before_publishing(lines):
    """int: where the sync lies that holds the published trees: of all, or of one of them."""
    published = last(lines, r'renameat2\(.*"resources"')
    return last(lines[:published], r"\bsyncfs\(.*= 0|fsync\(.*/resources-\w+/tree>\)")
