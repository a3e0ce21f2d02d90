# SPDX-License-Identifier: Apache-2.0
"""Real file systems that are full at different depths of a first start, with the look at the room before it and without."""

import contextlib
import os
import shutil
import subprocess
import tempfile

import pytest

from tests.site import run

from .inject import SCENE, Done
from .scene import STUCK, Scene, whole
from .test_failed_calls import judge

LEVELS, FEW_LEVELS = 30, 8
FILLER = ".Trash-filler"  # a name in a volume's root that counts as nothing
BLOCKS, INODES = "blocks", "inodes"
DISKS = [
    ("ext4", BLOCKS, "32M", "-m", "0"),
    ("xfs", BLOCKS, None),
    ("btrfs", BLOCKS, None),
    ("ext4", INODES, "32M", "-N", "128"),
    ("tmpfs", INODES, None, "-o", "nr_inodes=128,mode=0755"),
]


@pytest.mark.parametrize("blind", [False, True], ids=["looked at before", "found out while copying"])
@pytest.mark.parametrize("disk", DISKS, ids=lambda disk: "{} {}".format(*disk))
def test_a_full_disk(disk, blind, top, full, file_system, tally):
    kind, what, *options = disk
    store = file_system(kind, *options)
    environment = {"PREPARE": "ignore_room"} if blind else {}
    before = free(store, what)
    with scene_on(store, top, kind) as scene:
        assert scene.start().returncode == 0
        need = before - free(store, what)
    ends, problems = [], []
    # More is there for a while, file systems keep blocks for themselves, and the look before counts generously.
    times = 2 if blind else 6 if what == BLOCKS else 3
    for level in levels(need * times, LEVELS if full else FEW_LEVELS):
        with scene_on(store, top, kind) as scene:
            fill(store, what, level)
            names = sorted(os.listdir(store))
            done = Done.of(scene.start(**environment))
            ends.append(done)
            found = judge(scene, done) + scene.problems_after_fault()
            if "short: " in done.typed and sorted(os.listdir(store)) != names:
                found.append((STUCK, "it was refused and changed something all the same"))
            make_room(store)
            found += scene.problems_after_rerun()
        problems += [(sort, "{} {} left: {}".format(level, what, text)) for sort, text in found]
    name = "full {}, no {}, {}".format(kind, what, "no look at it before" if blind else "looked at before")
    tally.count(name, len(ends), problems)
    assert problems == []
    assert {done.code for done in ends} == {0, 1}, ends
    expected = "No space left on device" if blind else "short: "
    assert any(expected in done.typed for done in ends), ends
    assert not blind or any("CopyError" in done.error or "cannot copy" in done.error for done in ends), ends


def levels(most, number):
    """list of int: so many, evenly spread from 0."""
    return [most * step // (number - 1) for step in range(number)]


@contextlib.contextmanager
def scene_on(store, top, kind):
    """Give a Scene with its store on a mounted file system, which is empty before and after."""
    scene = Scene(tempfile.mkdtemp(prefix=SCENE, dir=top), store=store)
    if kind == "tmpfs":  # it has learnt of user attributes and flags only lately (Linux 6.6)
        os.removexattr(scene.paths[0] + "/base/1/1259", "user.note")
        run("chattr", "-i", scene.paths[1] + "/fixed")
        scene.before = {path: whole(path) for path in scene.paths}
    try:
        yield scene
    finally:
        scene.remove()
        subprocess.run(["chattr", "-R", "-ia", store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in set(os.listdir(store)) - {"lost+found"}:
            remove(os.path.join(store, name))


def free(store, what):
    """int: how many blocks or inodes are free, once all is on disk that waits for it."""
    run("sync", "--file-system", store)
    status = os.statvfs(store)
    return status.f_bavail if what == BLOCKS else status.f_favail


def fill(store, what, left):
    """Fill a file system until only so many blocks or inodes are left."""
    filler = os.path.join(store, FILLER)
    if what == INODES:
        os.mkdir(filler)
        for number in range(free(store, what) - left):
            open(os.path.join(filler, str(number)), "x").close()
        assert free(store, what) == left
        return
    block, size = os.statvfs(store).f_frsize, 0
    with open(filler, "wb") as file:
        for step in (1 << 20, 1 << 16, block):
            with contextlib.suppress(OSError):  # ENOSPC: it is full, but for less than a step
                while True:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
        assert size > left * block
        file.truncate(size - left * block)
    run("sync", "--file-system", store)


def make_room(store):
    """Take away what fill() has put there."""
    remove(os.path.join(store, FILLER))
    run("sync", "--file-system", store)


def remove(path):
    """Remove a file or a directory."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
