# SPDX-License-Identifier: Apache-2.0
"""While a store is seeded, a name in it turns into a link that leads outside, and back: nothing is written there.

Once before every call of a start that names the place, the run held there; and at random, as fast as the kernel can.
"""

import ctypes
import os
import subprocess
import sys

from tests.tree import footprint

from .hold import CHANGES, Held
from .hostile import LOST_ORIGINAL, make_outside, originals_kept, secrets_in, typed
from .scene import ESCAPED, LOST, STUCK, Scene
from .test_two_starters import WORKERS, end, spelled_in

EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE, AT_FDCWD
NAMING = (*(name for name in CHANGES if name.endswith("at")), "renameat2", "fchown", "chmod", "lchown", "lsetxattr", "openat")
LEVELS = 3  # the name itself, its directory, and the one above
FLIPPER = """
import ctypes, sys
flip, place, other = ctypes.CDLL(None).renameat2, sys.argv[1].encode(), sys.argv[2].encode()
print("ready", flush=True)
while True:
    flip(-100, place, -100, other, 2)
"""


class Trap:
    """A link to the outside that changes places with a name in the store.

    Args:
        scene (Scene): whose store it is; the link lies beside it, and so does the outside.
        place (str): the name in the store.
        target (str): where in the outside the link leads.
    """

    def __init__(self, scene, place, target="directory"):
        self.place, self.other = place, os.path.join(scene.top, "trap")
        os.symlink(os.path.join(outside_of(scene), target), self.other)

    def swap(self):
        """Put the link at the place; what is there, if anything is, is kept."""
        if os.path.lexists(self.place):
            assert not exchange(self.place, self.other)
        else:
            os.makedirs(os.path.dirname(self.place), exist_ok=True)
            os.rename(self.other, self.place)

    def undo(self):
        """Put back what was there."""
        if os.path.islink(self.place) and os.readlink(self.place).startswith(os.path.dirname(self.other)):
            if os.path.lexists(self.other):
                exchange(self.place, self.other)
            else:
                os.unlink(self.place)


def exchange(one, other):
    """int: 0 where two names have changed places."""
    return ctypes.CDLL(None).renameat2(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE)


def outside_of(scene):
    """str: the world outside a scene's store and image."""
    return os.path.join(scene.top, "outside")


def judge(scene, before, code, said):
    """list of (kind, str): what is wrong after a start under attack, and after one more without."""
    wrong = []
    after = footprint(outside_of(scene))
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    if changed:
        wrong.append((ESCAPED, "written outside: {}".format(changed[:3])))
    wrong += [(ESCAPED, "read from outside: " + path) for path in secrets_in(scene.store)]
    wrong += [(LOST, LOST_ORIGINAL.format(path)) for path in scene.paths if not originals_kept(scene, path)]
    again = scene.start()
    for code_of, said_of in ((code, said), (again.returncode, again.stderr)):
        if code_of and not typed(said_of):
            wrong.append((STUCK, "exit {}: {}".format(code_of, said_of[-300:])))
    return wrong


def hold(scene):
    """Held: a start of a scene, before the calls that name something in the store."""
    return Held(
        scene.command(), scene.environment(WORKERS=WORKERS), scene.top + "/said", NAMING, (scene.store,), spelled_in(scene)
    )


def above(scene, place, levels):
    """str: the directory that many levels above a place; '' where that is not in the store."""
    for _level in range(levels):
        place = os.path.dirname(place)
    return place if place.startswith(scene.store + "/") else ""


def all_traps(scene):
    """list of (Call, int, int): each call, which of its places is meant, and how many levels above it the trap is."""
    with hold(scene) as run:
        hazards = [
            (call, index, levels)
            for call in run.calls()
            for index, place in enumerate(run.at)
            for levels in range(LEVELS)
            if above(scene, place, levels)
        ]
    assert not run.returncode, run.said()
    return hazards


def test_a_link_in_the_way_of_every_call(top, some, side_by_side, tally):
    undisturbed = Scene(os.path.join(top, "scene-undisturbed"))
    hazards = all_traps(undisturbed)
    opened = [trap for trap in hazards if trap[0].name == "openat" and not trap[2]]  # what is opened itself: most to the point
    hazards = some(opened, 15) + some([trap for trap in hazards if trap not in opened], 10)

    def spring(number):
        call, index, levels = hazards[number]
        scene = Scene(os.path.join(top, "scene-{}".format(number)))
        make_outside(outside_of(scene), scene.paths)
        with hold(scene) as run:
            if not run.reach(call):
                return None
            place = above(scene, run.at[index], levels)
            is_directory = os.path.isdir(place) or (call.name == "mkdirat" and not levels)
            trap = Trap(scene, place, "directory" if is_directory else "secret")
            before = footprint(outside_of(scene))
            trap.swap()
            said = run.finish()
        trap.undo()
        wrong = judge(scene, before, run.returncode, said)
        scene.remove()
        return [(kind, "{} levels above {} of {}: {}".format(levels, index, call, text)) for kind, text in wrong]

    results = side_by_side(spring, range(len(hazards)))
    problems = [problem for found in results if found for problem in found]
    met = sum(found is not None for found in results)
    tally.count("a link outside put in the way of a call", met, problems)
    assert problems == [] and met == len(hazards)


def flipped(scene):
    """list of str: names in the store that are worth a race, made as far as a start would find them made."""
    stored, books = scene.stored(scene.paths[0]), os.path.join(scene.store, ".cm_persist")
    os.makedirs(stored)
    for name in ("", "staging", "manifests"):
        os.mkdir(os.path.join(books, name), 0o700)
    private = os.path.join(books, "staging", os.path.basename(make_outside(outside_of(scene), scene.paths)[0]))
    first = os.path.join(scene.store, stored[len(scene.store) + 1 :].split("/")[0])
    return [os.path.dirname(stored), stored, books + "/staging", private, books + "/manifests", books, first]


def test_a_link_that_comes_and_goes(top, full, side_by_side, tally):
    def race(number):
        scene = Scene(os.path.join(top, "race-{}".format(number)))
        places = flipped(scene)
        trap = Trap(scene, places[number % len(places)])
        before = footprint(outside_of(scene))
        flipper = subprocess.Popen([sys.executable, "-c", FLIPPER, trap.place, trap.other], stdout=subprocess.PIPE)
        try:
            flipper.stdout.readline()  # it is ready
            run = subprocess.Popen(
                scene.command(), env=scene.environment(WORKERS=WORKERS), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            code, said = end(run)
        finally:
            flipper.kill()
            flipper.communicate()
        trap.undo()
        wrong = judge(scene, before, code, said)
        scene.remove()
        return [(kind, "{}: {}".format(trap.place, text)) for kind, text in wrong]

    number = 200 if full else 10
    problems = [problem for found in side_by_side(race, range(number)) for problem in found]
    tally.count("a link outside that comes and goes", number, problems)
    assert problems == []
