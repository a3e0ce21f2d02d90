# SPDX-License-Identifier: Apache-2.0
"""Situations in which paths are linked, mounted over, or taken off the store, to be disturbed, and what must be true after.

Two directories and a single file, in a plain image or in the lower layer of a real overlayfs. Everything up to the act itself
has been done undisturbed.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from typing import Callable, NamedTuple

from tests.site import is_mounted, list_image, run
from tests.tree import differences

from .inject import SCENE
from .scene import LOST, STUCK, TORN, Scene, whole


class LinkScene(Scene):
    """A Scene that is seeded and prepared for one act of persist_link.

    Attributes:
        keep (dict): state path to what must exist at every moment, whole, beside what the store has; None for nothing.
        after (dict): state path to what must stand there in the end, or None for a link into the store.
        asides (dict): state path to {name pattern: tree}, what must be kept beside it in the end.
    """

    NAMES = (*Scene.NAMES, "etc/cloudify/config.yaml")

    def __init__(self, top, situation):
        super().__init__(top, overlay=situation.overlay)
        self.situation, self.mounted = situation, False
        if not self.overlay:  # unmounted lazily, it takes what is mounted below along
            run("mount", "--bind", self.image, self.image)
        self.keep = dict.fromkeys(self.paths)
        self.after = dict.fromkeys(self.paths)
        self.asides = {path: {} for path in self.paths}
        self.image_manifest = os.path.join(top, "image.manifest")
        self.act = dict(situation.options, image_manifest=self.image_manifest)
        situation.prepare(self)
        self.in_store = {path: whole(self.stored(path)) for path in self.paths}

    def fill(self):
        """Make the originals, a single file too."""
        from .scene import fill

        fill(*self.paths[:2])
        os.makedirs(os.path.dirname(self.paths[2]))
        write(self.paths[2], "manager: {}\n")
        os.chmod(self.paths[2], 0o640)

    def environment(self, **more):
        """dict: as Scene's, for the act alone."""
        return super().environment(ACTS=json.dumps([["link", self.act]]), **more)

    def undisturbed(self, *acts):
        """Do something else, undisturbed; acts are ("seed" or "link", dict of options)."""
        run(*self.command(), env=super().environment(ACTS=json.dumps(acts)))

    def problems_after_fault(self):
        """list of (kind, str): what is wrong right after the act was disturbed."""
        problems = []
        for path in self.paths:
            if differences(whole(self.stored(path)), self.in_store[path]):
                problems.append((TORN, "{} is not as it was".format(self.stored(path))))
            wanted = self.keep[path]
            if wanted and all(differences(whole(place), wanted) for place in self._places(path)):
                problems.append((LOST, "what stood at {} is nowhere whole".format(path)))
        return problems

    def problems_after_rerun(self):
        """list of (kind, str): what is wrong after one more, undisturbed run of the act, and a third."""
        problems = []
        again = self.start()
        if again.returncode:
            problems.append((STUCK, "the next run failed: {}".format(again.stderr[-500:])))
        problems += self.problems_after_fault()
        for path in self.paths:
            problems += self.problems_at_the_end(path)
        problems += self.leftovers("{}-initial.1", *self.situation.beside)
        third = self.start()
        if third.returncode or json.loads(third.stdout)["link"]["changed"]:
            problems.append((STUCK, "the run after that changed or failed: {}{}".format(third.stdout, third.stderr[-500:])))
        return problems

    def remove(self):
        """Take everything away again."""
        subprocess.run(["umount", "--lazy", self.image], check=False)
        subprocess.run(["chattr", "-R", "-ia", self.top], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.top)

    def _places(self, path):
        """Yield (str) where content of a state path may be kept, whatever was going on."""
        yield path
        directory, name = os.path.split(path)
        yield from (os.path.join(directory, other) for other in os.listdir(directory) if other.startswith(name + "-initial"))
        yield os.path.join(directory, ".{}.cm_persist-copy/tree".format(name))

    def problems_at_the_end(self, path):
        if self.situation.options.get("method") == "bind" and self.situation.options.get("state") != "unlinked":
            if not is_mounted(path) or not os.path.samefile(path, self.stored(path)):
                yield STUCK, "the store is not mounted over {}".format(path)
        elif self.after[path] is None:
            if not os.path.islink(path) or os.readlink(path) != self.stored(path):
                yield STUCK, "{} is not linked".format(path)
        elif os.path.islink(path) or is_mounted(path) or differences(whole(path), self.after[path]):
            yield TORN, "{} is not what it should be: {}".format(path, differences(whole(path), self.after[path])[:3])
        for pattern, tree in self.asides[path].items():
            found = differences(whole(path + pattern), tree)
            if found:
                yield TORN, "{}{}: {}".format(path, pattern, found[:3])
        kept = {place for place in self._places(path) if place.startswith(path + "-initial")}
        if kept != {path + pattern for pattern in self.asides[path]}:
            yield STUCK, "beside {} is kept: {}".format(path, sorted(kept))


class Situation(NamedTuple):
    """What is done, in what state of things; it stands where inject.py takes a Variant.

    prepare brings a LinkScene there; options are those of persist_link; beside are patterns of names that are right beside a
    path in the end.
    """

    label: str
    overlay: bool
    prepare: Callable
    options: dict
    beside: tuple = ()
    workers: int = 0
    faults: tuple = ()

    @contextlib.contextmanager
    def scene(self, top):
        """Give a fresh LinkScene below a directory, and take it away again."""
        scene = LinkScene(tempfile.mkdtemp(prefix=SCENE, dir=top), self)
        try:
            yield scene
        finally:
            scene.remove()


def write(path, text):
    with open(path, "a") as file:
        file.write(text)


def change(path, text):
    """Write something into what a state path leads to, or into what stands there."""
    write(os.path.join(path, "row") if os.path.isdir(path) else path, text)


def seeded(scene):
    """Seeded, and to be linked; the originals can be renamed, or are left to the image."""
    scene.undisturbed(("seed", {}))
    if not scene.overlay:
        for path in scene.paths:
            scene.keep[path] = scene.before[path]
            scene.asides[path] = {"-initial": scene.before[path]}
    else:  # of a file a rename is a copy that the kernel makes
        scene.asides[scene.paths[2]] = {"-initial": scene.before[scene.paths[2]]}


def to_be_mounted(scene):
    """Seeded, and the store is to be mounted over the originals, which stay as they are."""
    scene.undisturbed(("seed", {}))


def adopted(scene):
    """What an earlier tool put in the store is adopted; nothing but the list of the image says what the originals are."""
    list_image(scene.image, scene.image_manifest)
    for path in scene.paths:
        os.makedirs(os.path.dirname(scene.stored(path)))
        run("cp", "-a", path, scene.stored(path))
        change(scene.stored(path), "newer than the image\n")
    scene.undisturbed(("seed", {}))


def changed(scene):
    """Seeded, and the originals were changed since: on overlayfs they have to be copied aside."""
    scene.undisturbed(("seed", {}))
    for path in scene.paths:
        change(path, "since it was seeded\n")
        scene.keep[path] = whole(path)
        scene.asides[path] = {"-initial": whole(path)}


def replaced(scene):
    """Linked, and the application then put content of its own in place of each link."""
    linked(scene)
    for path in scene.paths:
        pattern = "-initial.1" if scene.asides[path] else "-initial"
        if os.path.isdir(path):
            os.unlink(path)
            os.makedirs(path + "/sub")
        change(path + "/sub" if os.path.isdir(path) else path + ".new", "newer than the store\n")
        if not os.path.isdir(path):
            os.rename(path + ".new", path)
        scene.keep[path] = whole(path)
        scene.asides[path][pattern] = whole(path)


def linked(scene):
    """Linked, and written to."""
    seeded(scene)
    _use(scene, {})


def mounted(scene):
    """Mounted over, and written to."""
    scene.undisturbed(("seed", {}))
    _use(scene, {"method": "bind"})


def linked_to_go_back(scene):
    """The same, to get what the store has."""
    linked(scene)
    _expect_what_the_store_has(scene)


def linked_to_return(scene):
    """Linked, to get the original that is kept aside; on overlayfs it is there because it was changed."""
    changed(scene)
    _use(scene, {})
    for path in scene.paths:
        scene.after[path] = scene.keep[path]
        scene.asides[path] = {}


def mounted_to_go_back(scene):
    """Mounted over, to get what the store has; the original comes to light and is put aside."""
    mounted(scene)
    _expect_what_the_store_has(scene)
    for path in scene.paths:
        if not scene.overlay or path == scene.paths[2]:
            scene.asides[path] = {"-initial": scene.before[path]}


def mounted_beside_to_return(scene):
    """Mounted over an empty mount point, to get the original that was changed and is therefore kept aside."""
    changed(scene)
    _use(scene, BIND)
    for path in scene.paths:
        scene.after[path] = scene.keep[path]
        scene.asides[path] = {}


def mounted_to_return(scene):
    """Mounted over, to get the original that lies under the mount."""
    mounted(scene)
    scene.after = dict(scene.before)


def _use(scene, options):
    scene.undisturbed(("link", options))
    for path in scene.paths:
        change(path, "newer than the image\n")


def _expect_what_the_store_has(scene):
    for path in scene.paths:
        scene.after[path] = whole(scene.stored(path))


BIND, STORE, ASIDE = {"method": "bind"}, {"state": "unlinked"}, {"state": "unlinked", "restore": "aside"}
NOTE = (".{}.cm_persist-bound",)
SITUATIONS = [
    Situation("link, plain image, renamed", False, seeded, {}),
    Situation("link, overlay image, left to it as it was seeded", True, seeded, {}),
    Situation("link, overlay image, left to it as it lists it", True, adopted, {}),
    Situation("link, overlay image, changed and copied aside", True, changed, {}),
    Situation("link, plain image, replaced by the application", False, replaced, {}),
    Situation("link, overlay image, replaced by the application", True, replaced, {}),
    Situation("mount over, plain image", False, to_be_mounted, BIND, NOTE),
    Situation("mount over, overlay image", True, to_be_mounted, BIND, NOTE),
    Situation("mount over, plain image, changed and set aside", False, changed, BIND, NOTE),
    Situation("restore what the store has, plain image", False, linked_to_go_back, STORE),
    Situation("restore what the store has, overlay image", True, linked_to_go_back, STORE),
    Situation("restore what the store has, plain image, mounted over", False, mounted_to_go_back, dict(BIND, **STORE)),
    Situation("restore what the store has, overlay image, mounted over", True, mounted_to_go_back, dict(BIND, **STORE)),
    Situation("restore the original, plain image", False, linked_to_return, ASIDE),
    Situation("restore the original, overlay image", True, linked_to_return, ASIDE),
    Situation("restore the original, plain image, mounted over", False, mounted_to_return, dict(BIND, **ASIDE)),
    Situation("restore the original, plain image, mounted over, set aside", False, mounted_beside_to_return, dict(BIND, **ASIDE)),
]
