# SPDX-License-Identifier: Apache-2.0
"""Situations in which a new image meets a store, or the store goes back, to be disturbed, and what must be true after.

A directory with all that a merge can meet, one whose owners alone change, and a single file. Everything up to the act itself
has been done undisturbed.
"""

import contextlib
import functools
import json
import os
import shutil
import struct
import subprocess
import tempfile
from typing import Callable, NamedTuple

from module_utils.cm_persist.store.layout import label
from tests.site import list_image, run
from tests.tree import differences
from tests.upgrades import FIRST, NEW, OLD, SECOND, WRITTEN

from .inject import SCENE
from .scene import LOST, STUCK, TORN, Scene, whole

# What the two images call their owners: "app" gets the number that "db" had.
OWNERS = (
    ({"root": 0, "app": 994, "db": 26}, {"root": 0, "app": 990}),
    ({"root": 0, "app": 26, "db": 1026}, {"root": 0, "app": 991}),
)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


class UpgradeScene(Scene):
    """A Scene that one image seeded and that was written to; the next one is there, to be started on it.

    Attributes:
        old (dict): state path to the store's tree before the act.
    """

    NAMES = ("var/lib/app", "opt/owned", "etc/app.conf")
    BOOKS = (*Scene.BOOKS, "backups")

    def __init__(self, top, situation, store=None):
        self.version, self.situation = 1, situation
        super().__init__(top, store, overlay=situation.overlay)
        self.undisturbed(self.seed(OLD, "keep"))
        for path, text in WRITTEN.items():
            write(os.path.join(self.stored(self.paths[0]), path), text, 1_550_000_000)
        os.unlink(self.stored(self.paths[0]) + "/deleted2")
        self._replace_image()
        situation.prepare(self)
        self.old = {path: whole(self.stored(path)) for path in self.paths}

    def fill(self):
        """Make the image's originals, of the version that it is now."""
        fill(self.paths, self.version, *self.owners)
        list_image(self.image, os.path.join(self.top, "image.manifest"))

    @property
    def owners(self):
        """tuple of dict: what the image calls users and groups."""
        return OWNERS[self.situation.numbers if self.version == 2 else 0]

    def seed(self, image, policy):
        """list: an act, of an image of that name and with a policy for all paths."""
        named = [{"path": path, "on_image_change": policy} for path in self.paths]
        options = {"image": image, "image_manifest": os.path.join(self.top, "image.manifest"), "paths": named}
        return ["seed", dict(options, accounts=self.owners, allow_downgrade=True)]

    def undisturbed(self, *acts):
        """dict: what these did."""
        return json.loads(run(*self.command(), env=self.environment(ACTS=json.dumps(acts))))

    def start(self, *prefix, **environment):
        """subprocess.CompletedProcess: of the act."""
        environment.setdefault("ACTS", json.dumps([self.situation.act(self)]))
        return super().start(*prefix, **environment)

    def problems_after_fault(self):
        """list of (kind, str): what is wrong right after the act was disturbed. The old tree is there whole, or the new one."""
        problems, expected = [], dict(zip(self.paths, expected_after(self.situation, os.path.dirname(self.top))))
        for path in self.paths:
            old, new = loose(self.old[path]), loose(expected[path])
            there, kept = loose(whole(self.stored(path))), [loose(whole(place)) for place in self._kept(path)]
            between = not there and self.situation.faults and old in kept and new in kept
            if there not in (old, new) and not between:
                problems.append((TORN, "{}: {}".format(self.stored(path), differences(there, new)[:3])))
            if old != new and there != old and old not in kept:
                problems.append((LOST, "what was replaced at {} is nowhere whole".format(self.stored(path))))
        return problems

    def problems_after_rerun(self):
        """list of (kind, str): what is wrong after one more, undisturbed run of the act, and a start."""
        problems = []
        if not self._gone_back():
            again = self.start()
            if again.returncode:
                problems.append((STUCK, "the next run failed: {}".format(again.stderr[-500:])))
        problems += self.problems_at_the_end()
        third = self.start(ACTS=json.dumps(self.situation.after(self)))
        if third.returncode or json.loads(third.stdout)["seed"]["changed"]:
            problems.append((STUCK, "the start after that changed or failed: {}{}".format(third.stdout, third.stderr[-500:])))
        return problems + self.leftovers()

    def problems_at_the_end(self):
        """list of (kind, str): what differs from what the undisturbed act brings."""
        problems, expected = [], dict(zip(self.paths, expected_after(self.situation, os.path.dirname(self.top))))
        for path in self.paths:
            found = differences(timeless(whole(self.stored(path))), timeless(expected[path]))
            if found:
                problems.append((TORN, "{}: {}".format(self.stored(path), found[:3])))
            replaced = [loose(self.old[path])] if loose(expected[path]) != loose(self.old[path]) else []
            kept = [loose(whole(place)) for place in self._kept(path)]
            if kept != replaced:
                problems.append((LOST, "{} trees are kept of {}, and should be {}".format(len(kept), path, len(replaced))))
        return problems

    def remove(self):
        """Take everything away again."""
        subprocess.run(["umount", "--lazy", self.image], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["chattr", "-R", "-ia", self.top], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.top)

    def _replace_image(self):
        self.version = 2
        subprocess.run(["chattr", "-R", "-f", "-i", self.image, self.top + "/lower"], check=False)
        if self.overlay:
            run("umount", self.image)
            for name in ("lower", "upper", "work"):
                shutil.rmtree(os.path.join(self.top, name))
        shutil.rmtree(self.image)
        self.make_image()

    def _gone_back(self):
        # A way back that is done is not done again: that would be the way back from it.
        staging = os.path.join(self.store, ".cm_persist/staging")
        under_way = os.path.isdir(staging) and os.listdir(staging)
        return self.situation.goes_back and not under_way and not self.problems_at_the_end()

    def _kept(self, path):
        """Yield (str) where a run keeps a tree of a state path, beside its place."""
        books, name = os.path.join(self.store, ".cm_persist"), label(path)
        for directory in ("staging/" + name + "-merge", "staging/" + name + "-rollback", "backups/" + name):
            directory = os.path.join(books, directory)
            for place in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
                tree = os.path.join(directory, place, "tree" if "/backups/" in directory else "")
                if place.isdigit() or place in ("tree", "old"):
                    yield os.path.normpath(tree)


def loose(tree):
    """dict: a tree without what a run that is killed may leave half done: owners, what a change of these takes away, and times
    of directories."""
    return {
        name: entry._replace(
            mode=entry.mode & ~0o6000,
            uid=0,
            gid=0,
            flags=0,
            attributes=tuple(each for each in entry.attributes if each[0] in ("user.note",)),
        )
        for name, entry in timeless(tree).items()
    }


def timeless(tree):
    """dict: a tree without the times of directories, which change when their content does."""
    return {name: entry._replace(mtime_ns=0) if entry.kind == "directory" else entry for name, entry in tree.items()}


@functools.lru_cache(maxsize=None)
def expected_after(situation, top):
    """list of dict: the tree of each state path that the undisturbed act brings, in scenes below top (str)."""
    with situation.scene(top) as scene:
        scene.undisturbed(situation.act(scene))
        return [whole(scene.stored(path)) for path in scene.paths]


class Situation(NamedTuple):
    """What is done, in what state of things; it stands where inject.py takes a Variant.

    prepare brings an UpgradeScene there; act and after take it and give the act, and the starts the last of which must change
    nothing any more.
    numbers are the owners' in the next image, of OWNERS.
    """

    label: str
    prepare: Callable
    act: Callable
    after: Callable
    overlay: bool = False
    goes_back: bool = False
    numbers: int = 0
    faults: tuple = ()
    workers: int = 0

    @contextlib.contextmanager
    def scene(self, top):
        """Give a fresh UpgradeScene below a directory, and take it away again."""
        scene = UpgradeScene(tempfile.mkdtemp(prefix=SCENE, dir=top), self)
        try:
            yield scene
        finally:
            scene.remove()


def fill(paths, version, users, groups):
    """Fill the originals of a version, 1 or 2, of the image; users and groups (dict) are the numbers of its owners."""
    top, owned, file = paths
    when = {1: 1_400_000_000, 2: 1_500_000_000}[version]
    for path, text in (SECOND if version == 2 else FIRST).items():
        write(os.path.join(top, path), text, when)
    write(top + "/twins/one", "of {}".format(version), when)
    os.link(top + "/twins/one", top + "/twins/two")
    os.symlink({1: "same", 2: "changed2"}[version], top + "/link")
    os.utime(top + "/link", (when, when), follow_symlinks=False)
    os.mkdir(top + "/private", {1: 0o750, 2: 0o700}[version])
    for name in ("suid", "capable", "fixed", "listed", "plain"):
        write(os.path.join(owned, name), name, 1_400_000_000)
        os.chown(os.path.join(owned, name), users["app"], groups["app"])
    os.chmod(owned + "/suid", 0o6750)
    os.setxattr(owned + "/capable", "security.capability", CAPABILITY)
    entries = ((0x01, 6, -1), (0x02, 4, users["app"]), (0x04, 4, -1), (0x08, 4, groups["app"]), (0x10, 4, -1), (0x20, 0, -1))
    acl = b"".join(struct.pack("<HHI", tag, may, number & 0xFFFFFFFF) for tag, may, number in entries)
    os.setxattr(owned + "/listed", "system.posix_acl_access", struct.pack("<I", 2) + acl)
    os.chown(owned, users["db"], groups["app"])
    os.chown(os.path.dirname(owned), users["app"], 0)  # a directory above
    run("chattr", "+i", owned + "/fixed")
    write(file, "of {}".format(version), when)


def write(path, text, when):
    """Write a small file, last changed at a time (seconds)."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, (when, when))


def merged(scene):
    """The next image was merged; now it goes back to the trees of the first."""
    scene.undisturbed(merge(scene))


def as_it_is(_scene):
    """Seeded by the first image and written to; the next one is started."""


def merge(scene):
    return scene.seed(NEW, "merge")


def keep(scene):
    return scene.seed(NEW, "keep")


def again(scene):
    return [scene.situation.act(scene)]


def old_twice(scene):
    return [scene.seed(OLD, "keep")] * 2  # the first notes that it has met each path


def go_back(_scene):
    return ["rollback", {}]


NO_EXCHANGE = ("renameat2:error=EINVAL",)
MERGE = Situation("merge a new image", as_it_is, merge, again)
BACK = Situation("go back to what a merge replaced", merged, go_back, old_twice, goes_back=True)
OWNERS_MERGED = MERGE._replace(label=MERGE.label + ", owners get other numbers", numbers=1)
SITUATIONS = [
    MERGE,
    MERGE._replace(label=MERGE.label + ", overlay image", overlay=True),
    MERGE._replace(label=MERGE.label + ", no exchange of names", faults=NO_EXCHANGE),
    OWNERS_MERGED,
    Situation("owners get other numbers", as_it_is, keep, again, numbers=1),
    BACK,
    BACK._replace(label=BACK.label + ", no exchange of names", faults=NO_EXCHANGE),
]
