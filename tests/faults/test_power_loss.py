# SPDX-License-Identifier: Apache-2.0
"""The power fails at any write of a first start, and of the work after it: the store holds nothing or everything of a path.

A power loss takes the container too, so before the start was reported done the originals are whole again at the next one.
After it nothing but the store is left, and what a database then wrote and fsynced is in it.
"""

import bisect
import contextlib
import os
from typing import NamedTuple

import pytest

from tests.site import run

from .blocklog import BlockLog
from .power import Image, Replay, around, make_disk, mounted
from .scene import LOST, TORN, Scene

WITHOUT_SYNCFS = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:error=ENOSYS"]
RECORDINGS = [], WITHOUT_SYNCFS  # of each file system, checked side by side: one synced at once, one file by file
SAMPLE = 30  # images of each recording
LOSSES = 1  # of every prefix, each with a seed of its own
ROW = b"committed\n" * 1000


class Recording(NamedTuple):
    """A recorded start: where the log stood when it began, when it was reported done, when the later fsync had returned."""

    kind: str
    scene: Scene
    replay: Replay
    disk: str
    begun: int
    done: int
    kept: int


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_power_loss_leaves_nothing_or_everything(kind, top, mounts, full, some, side_by_side, tally):
    ram = mounts("-t", "tmpfs", "none", os.path.join(top, "ram"))

    def try_one(number):
        recording = record(kind, RECORDINGS[number], os.path.join(top, str(number)), os.path.join(ram, str(number)))
        turns = turning_points(recording)
        images = recording.replay.images(LOSSES)
        near = around(images, [*turns, recording.done, recording.kept])
        numbers = range(len(images)) if full else sorted(near | set(some(range(len(images)), SAMPLE - len(near))))
        return recording, turns, [(images[number], problems(recording, images[number])) for number in numbers]

    tried = side_by_side(try_one, range(len(RECORDINGS)))
    found = [(image, problem) for _recording, _turns, results in tried for image, several in results for problem in several]
    tally.count("power loss, " + kind, sum(len(results) for *_what, results in tried), [problem for _image, problem in found])
    assert not found
    for recording, turns, results in tried:
        assert_honest(recording, turns, [image for image, _found in results])


def record(kind, prefix, place, disk):
    """Recording: of a start (prefix: the words before it) on a fresh file system, and of a row written and fsynced after it."""
    os.makedirs(place)
    point = os.path.join(place, "store")
    make_disk(kind, disk + ".base")
    run("cp", "--sparse=always", disk + ".base", disk + ".now")
    with BlockLog(disk + ".volume", disk + ".now", disk + ".log") as log:
        os.mkdir(point)
        with mounted(kind, log.path, point):
            scene = Scene(os.path.join(place, "scene"), store=point)
            begun = log.position()
            started = scene.start(*prefix)
            done = log.position()
            assert not started.returncode, started.stderr
            write_row(scene.paths[0] + "/base")
            kept = log.position()
        replay = Replay(disk + ".base", log.events())
    return Recording(kind, scene, replay, disk + ".lost", begun, done, kept)


def write_row(directory):
    """Do what a database does to keep something: write it, fsync the file, fsync the directory."""
    with open(directory + "/row", "wb") as file:
        file.write(ROW)
        file.flush()
        os.fsync(file.fileno())
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


@contextlib.contextmanager
def after_loss(recording, image):
    """The store is what an image holds."""
    recording.replay.build(image, recording.disk)
    with mounted(recording.kind, recording.disk, recording.scene.store):
        yield


def turning_points(recording):
    """tuple of int: at which lengths of the log the first and second path, and the record, come to be in the store."""
    scene, events = recording.scene, recording.replay.events
    names = [*map(scene.stored, scene.paths), scene.store + "/.cm_persist/record.json"]

    def visible(length):
        with after_loss(recording, Image(length)):
            return sum(map(os.path.lexists, names))

    return tuple(bisect.bisect_left(range(len(events) + 1), number, key=visible) for number in (1, 2, 3))


def assert_honest(recording, turns, images):
    """Assert that what was tried could have gone wrong."""
    events, lengths = recording.replay.events, [image.length for image in images]
    during = events[recording.begun : recording.done]
    assert any(event.data is None for event in during)
    assert any(event.data for event in during)
    assert any(event.data is None for event in events[recording.done : recording.kept])
    assert 0 < turns[0] <= turns[1] <= turns[2] <= recording.done < recording.kept <= len(events)
    assert min(lengths) < turns[0]  # nothing is there yet
    assert any(turns[0] <= length < recording.done for length in lengths)
    assert any(recording.done <= length < recording.kept for length in lengths)
    assert max(lengths) >= recording.kept
    assert any(image.seed is not None for image in images)


def problems(recording, image):
    """list of (kind, str): what is wrong with an image."""
    scene = recording.scene
    with after_loss(recording, image):
        if image.length < recording.done:
            renew(scene)
            return scene.problems_after_fault() or scene.problems_after_rerun()
        relink(scene)
        found = row_problems(scene, image.length >= recording.kept) or scene.problems_after_fault()
        renew(scene)
        return found or scene.problems_after_rerun()


def row_problems(scene, promised):
    """list of (kind, str): what is wrong with the row, which is then taken out, as the originals have none."""
    row = scene.stored(scene.paths[0]) + "/base/row"
    if not os.path.lexists(row):
        return [(LOST, "the row, which was fsynced")] if promised else []
    with open(row, "rb") as file:
        content = file.read()
    os.unlink(row)
    mtime = scene.before[scene.paths[0]][b"base"].mtime_ns
    os.utime(os.path.dirname(row), ns=(mtime, mtime))
    return [(TORN, "the row, which was fsynced: {} bytes".format(len(content)))] if promised and content != ROW else []


def renew(scene):
    """Give the container its image anew: the originals as they were."""
    for path in scene.paths:
        if os.path.lexists(path + "-initial"):
            if os.path.lexists(path):
                os.unlink(path)
            os.rename(path + "-initial", path)


def relink(scene):
    """Leave the container as the start left it, so that the oracle accepts nothing but the store."""
    for path in scene.paths:
        if not os.path.islink(path):
            os.rename(path, path + "-initial")
            os.symlink(scene.stored(path), path)
