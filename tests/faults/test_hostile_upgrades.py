# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a store where a merge, or the way back, opens or makes something: refused with a remedy, or put up with."""

import os

import pytest

from module_utils.cm_persist.host.mounts import mounts_at_or_below, read_mounts
from module_utils.cm_persist.store.layout import label
from tests.tree import footprint

from .hostile import THINGS, clear, make_outside, plant, secrets_in, typed, unmount
from .scene import ESCAPED, STUCK, TORN, whole
from .upgrade_scene import BACK, OWNERS_MERGED, loose

PLACES = {
    OWNERS_MERGED: (
        "owners.json", "owner.json", "backups", "backups/{label}", "backups/{label}/1", "staging/{label}-merge",
        "manifests/{label}.2", "manifests",
    ),
    BACK: (
        "owners.json", "backups", "backups/{label}", "backups/{label}/2", "backups/{label}/1/kept.json",
        "backups/{label}/1/manifest", "backups/{label}/1/tree", "staging", "staging/{label}-rollback", "manifests/{label}",
    ),
}  # fmt: skip
CASES = [(situation, place) for situation, places in PLACES.items() for place in places]


@pytest.mark.parametrize("situation, name", CASES, ids=lambda value: value if isinstance(value, str) else value.label)
def test_a_thing_at_a_place(situation, name, top, some, side_by_side, tally):
    def attempt(thing):
        with situation.scene(top) as scene:
            return [(kind, "{}: {}".format(thing, text)) for kind, text in attack(scene, name, thing)]

    turn = 3 * CASES.index((situation, name)) % len(THINGS)
    chosen = some([*list(THINGS)[turn:], *list(THINGS)[:turn]], 5)
    problems = sum(side_by_side(attempt, chosen), [])
    tally.count("a hostile thing where a store is merged or goes back", len(chosen), problems)
    assert problems == []


def attack(scene, name, thing):
    """list of (kind, str): what is wrong with the act where a thing was planted, and with one after it was cleared away."""
    place = os.path.join(scene.store, ".cm_persist", name.format(label=label(scene.paths[0])))
    outside = os.path.join(scene.top, "outside")
    make_outside(outside, scene.paths)
    problems = []
    try:
        plant(thing, place, outside)
        before = _world(outside, thing)
        done = scene.start("timeout", "60", "prlimit", "--as={}".format(1 << 29))
        after = _world(outside, thing)
        for mount in mounts_at_or_below(scene.store, read_mounts()):  # it may have been moved with what it is in
            unmount(mount)
        problems += [(ESCAPED, "changed: {}".format(path)) for path in {*before, *after} if before.get(path) != after.get(path)][
            :3
        ]
        problems += [(ESCAPED, "read from outside: " + path) for path in secrets_in(scene.store)]
        if done.returncode and not (typed(done.stderr) and scene.top in done.stderr):
            problems.append((STUCK, "exit {}: {}".format(done.returncode, done.stderr[-500:])))
        if not (place.endswith("/tree") and "directory" in thing):  # another tree for the kept one is taken for that
            problems += [each for each in scene.problems_after_fault() if each[0] == TORN]
    finally:
        clear(place, outside)
    again = scene.start()
    if again.returncode and not typed(again.stderr):
        problems.append((STUCK, "the next run, exit {}: {}".format(again.returncode, again.stderr[-500:])))
    known = [loose(tree) for tree in (scene.old[scene.paths[0]], whole(scene.stored(scene.paths[0])))]
    return problems + ([] if known[1] else [(STUCK, "nothing is there")])


def _world(outside, thing):
    # Of a file that has a name in the store as well, the loss of that name changes the time of change.
    return {path: value[:1] if "hard link" in thing else value for path, value in footprint(outside).items()}
