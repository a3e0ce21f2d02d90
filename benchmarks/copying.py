# SPDX-License-Identifier: Apache-2.0
"""First runs against what else copies a tree: on memory, on disks, on a volume far away, and within one file system."""

import json
import os
import shutil
import sys

from . import fixture, scene
from .measure import ROOT, Row, alternate, seconds, shell

SEED = os.path.join(ROOT, "benchmarks", "seed_once.py")
COPYTREE = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], symlinks=True)"
TAR = (
    'mkdir "$2" && tar --create --xattrs --acls --directory="$1" . | tar --extract --xattrs --acls --same-owner --directory="$2"'
)
PLAY = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
COPY_PLAY = os.path.join(ROOT, "benchmarks", "plays", "copy.yml")
START = os.path.join(ROOT, "playbooks", "start.yml")
SYNC = 'cp --archive "$1" "$2" && sync --file-system "$2"'
REFLINK = 'cp --archive --reflink=always "$1" "$2"'


class First:
    """First runs of one original (str) onto a volume (str), and copies of it by others."""

    def __init__(self, original, volume):
        self.original, self.volume = original, volume

    def ours(self):
        """float: seconds for all of the module's work, with the start of its interpreter, without Ansible."""
        return self._fresh([sys.executable, SEED, self.volume, self.original])

    def theirs(self, command):
        """callable: measures a command that is given the original and where the copy is to be."""
        return lambda: self._fresh([*command, self.original, os.path.join(self.volume, "copy")])

    def play(self, book, **variables):
        """callable: measures a whole play."""
        environment = dict(os.environ, ANSIBLE_CONFIG=os.path.join(ROOT, "ansible.cfg"), LC_ALL="C.UTF-8")
        return lambda: self._fresh([PLAY, book, "-e", json.dumps(variables)], env=environment)

    def _fresh(self, command, **options):
        os.sync()
        took = seconds(command, **options)
        self.clear()
        return took

    def clear(self):
        """Empty the volume."""
        for name in os.listdir(self.volume):
            shutil.rmtree(os.path.join(self.volume, name), ignore_errors=name == "lost+found")


def rows(top, full):
    """Yield the rows, measured in a scratch directory (str); full for more rounds."""
    rounds = 9 if full else 5
    with scene.tmpfs(os.path.join(top, "memory")) as memory:
        original = os.path.join(memory, "data")
        fixture.make(original)
        yield from _on_memory(First(original, _made(memory, "volume")), rounds)
        with scene.disk("ext4", os.path.join(top, "ext4.disk"), os.path.join(top, "ext4")) as volume:
            first = First(original, volume)
            ours, theirs = alternate(rounds, first.ours, first.theirs(shell(SYNC)))
            yield Row("first run onto ext4, all on disk", "cp -a; sync -f", ours, theirs, 1.0)
    yield from _far(top)
    for kind in ("xfs", "btrfs"):
        with scene.disk(kind, os.path.join(top, kind + ".disk"), os.path.join(top, kind)) as volume:
            original = os.path.join(volume, "image", "data")
            fixture.make(original)
            first = First(original, _made(volume, "volume"))
            ours, theirs = alternate(rounds, first.ours, first.theirs(shell(REFLINK)))
            yield Row("first run within one " + kind, "cp -a --reflink=always", ours, theirs, 1.1)


def _on_memory(first, rounds):
    peers = {
        "cp -a": (["cp", "--archive"], 0.75),
        "rsync -aHAX": (shell('rsync -aHAX "$1/" "$2"'), 1.0),
        "tar into tar": (shell(TAR), 1.0),
        "shutil.copytree": ([sys.executable, "-c", COPYTREE], 1.0),
    }
    ours, *theirs = alternate(rounds, first.ours, *(first.theirs(command) for command, _goal in peers.values()))
    for (peer, (_command, goal)), taken in zip(peers.items(), theirs):
        yield Row("first run, memory to memory", peer, ours, taken, goal)
    copy = first.play(COPY_PLAY, original=first.original, copy=os.path.join(first.volume, "copy"))
    ours, theirs = alternate(3, _putting_back(first), copy)
    yield Row("the whole of start.yml, first run, memory to memory", "a play of ansible.builtin.copy", ours, theirs, 1.0)


def _putting_back(first):
    """callable: measures the whole of start.yml, after which the original is put where it was."""
    start = {"cm_persist_store": first.volume, "cm_persist_paths": [first.original]}
    start.update(cm_persist_require_mount=False, cm_persist_lease=False)
    whole = first.play(START, **start)

    def run():
        took = whole()
        os.unlink(first.original)
        os.rename(first.original + "-initial", first.original)
        return took

    return run


def _far(top):
    original = os.path.join(top, "small", "data")
    fixture.make_small(original, 1000, 50)  # as many to a directory as in the larger fixture
    with scene.tmpfs(os.path.join(top, "below")) as below, scene.far(below, os.path.join(top, "far")) as volume:
        first = First(original, volume)
        ours, theirs = alternate(3, first.ours, first.theirs(["cp", "--archive"]))
        yield Row("first run onto a volume with 1 ms for each operation, 1,000 files", "cp -a", ours, theirs, 0.25)


def _made(*parts):
    path = os.path.join(*parts)
    os.makedirs(path)
    return path
