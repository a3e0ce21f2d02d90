# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a store at a place that the code opens or makes: refused with a remedy, or put up with. Never followed."""

import json
import os
import shutil
import subprocess

import pytest

from module_utils.cm_persist.store.layout import label
from tests.tree import footprint

from .hostile import (
    DATA,
    LOST_ORIGINAL,
    PLACES,
    STAGES,
    THINGS,
    clear,
    make_outside,
    originals_kept,
    plant,
    secrets_in,
    typed,
    unmount,
)
from .hostile_books import NOTES, RECORDS
from .scene import ESCAPED, LOST, PIPES, STUCK, Scene
from .test_two_starters import SECONDS, hold

MEMORY = 1 << 29  # bytes: enough for a start, and not for a file without end


class Attack:
    """A scene whose store has come to a stage, in which something is planted then.

    Args:
        top (str): a directory of its own.
        stage (str): of STAGES.
    """

    def __init__(self, top, stage):
        self.scene, self.stage, self.outside = Scene(top), stage, os.path.join(top, "outside")
        make_outside(self.outside, self.scene.paths)
        getattr(self, "_" + stage)()

    def place(self, name):
        """str: a place of PLACES in this store."""
        path = self.scene.paths[0]
        directory = os.path.dirname(path)
        known = {
            "label": label(path), "state_path": path[1:], "parent": directory[1:], "first": path.split("/")[1],
            "temporary": os.path.join(os.path.dirname(directory)[1:], ".cm_persist-" + os.path.basename(directory)),
        }  # fmt: skip
        return os.path.join(self.scene.store, name.format(**known))

    def start(self):
        """(int, str): how a start ends, and what it says."""
        command = self.scene.command("prlimit", "--as={}".format(MEMORY))
        try:
            done = subprocess.run(command, env=self.scene.environment(LOCK_TIMEOUT="1"), timeout=SECONDS, **PIPES)
        except subprocess.TimeoutExpired:
            return -1, "it hangs"
        return done.returncode, done.stderr if done.returncode else done.stdout

    def outcome(self, place, resume_only, twin=False):
        """list of (kind, str): what is wrong with a start in this store.

        Args:
            place (str): where something was planted.
            resume_only (bool): whether the start should put up with it.
            twin (bool): it is also a file outside, whose ctime tells of the loss of a name.
        """
        before = self._world(twin)
        code, said = self.start()
        after = self._world(twin)
        wrong = [(ESCAPED, "changed: {}".format(name)) for name in {*before, *after} if before.get(name) != after.get(name)][:3]
        unmount(place)
        wrong += [(ESCAPED, "read from outside: " + path) for path in secrets_in(self.scene.store)]
        wrong += [(LOST, LOST_ORIGINAL.format(path)) for path in self.scene.paths if not originals_kept(self.scene, path)]
        if bool(code) == resume_only or (code and not (typed(said) and self.scene.top in said)):
            wrong.append((STUCK, "exit {}: {}".format(code, said[-300:])))
        return wrong

    def _world(self, twin):
        found = footprint(self.outside)
        return {name: value[:1] if twin else value for name, value in found.items()}

    def _first(self):
        pass

    def _added(self):
        both, self.scene.paths = self.scene.paths, self.scene.paths[:1]
        self._restart()
        self.scene.paths = both

    def _killed(self):
        with hold(self.scene) as run:
            for call in run.calls():
                if call.name.startswith("rename") and call.places[-1].endswith("record.json"):
                    break
            run.kill()
        assert run.returncode == -9

    def _restart(self):
        scene = self.scene
        subprocess.run(["cp", "-a", scene.image, scene.image + "-new"], check=True)
        done = scene.start()
        assert not done.returncode, done.stderr
        subprocess.run(["chattr", "-R", "-f", "-i", scene.image], check=False)
        shutil.rmtree(scene.image)
        os.rename(scene.image + "-new", scene.image)
        subprocess.run(["chattr", "+i", os.path.join(scene.image, "opt/resources/fixed")], check=True)


@pytest.fixture
def attacks(top, side_by_side):
    """callable: takes a function that is given the path of a directory of its own and a case, and cases; gives all problems."""

    def every(attack, cases):
        def one(number):
            found = attack(os.path.join(top, "attack-{}".format(number)), cases[number])
            return [(kind, "{}: {}".format(cases[number], text)) for kind, text in found]

        return [problem for found in side_by_side(one, range(len(cases))) for problem in found]

    return every


def in_turn(number):
    """list of (stage, thing): all of them; a sample is to have the two links outside, and other things at each place."""
    ends = [("first", "link to a file outside"), ("added", "link to a directory outside")]
    others = [(stage, thing) for stage in STAGES for thing in THINGS if (stage, thing) not in ends]
    turn = 11 * number % len(others)
    return [ends[0], *others[turn:], *others[:turn], ends[1]]


@pytest.mark.parametrize("name", PLACES)
def test_a_thing_at_a_place(attacks, some, tally, name):
    def one(top, case):
        stage, thing = case
        attack = Attack(top, stage)
        place = attack.place(name)
        resume_only = thing in PLACES[name][STAGES.index(stage)]
        try:
            plant(thing, place, attack.outside)
            wrong = attack.outcome(place, resume_only, "hard link" in thing)
        finally:
            clear(place, attack.outside)
        if name not in DATA or (stage == STAGES[0] and not resume_only):
            wrong += attack.scene.problems_after_rerun()
        attack.scene.remove()
        return wrong

    chosen = some(in_turn(list(PLACES).index(name)), 5)
    problems = attacks(one, chosen)
    tally.count("a hostile thing in the store", len(chosen), problems)
    assert problems == []


def test_a_record_with_hostile_content(attacks, tally):
    def one(top, case):
        attack = Attack(top, "added")
        place = attack.place(".cm_persist/record.json")
        with open(place) as file:
            entries = json.load(file)["paths"]
        make, resume_only = RECORDS[case]
        _write(place, make(attack.scene.paths, entries))
        wrong = attack.outcome(place, resume_only)
        attack.scene.remove()
        return wrong

    problems = attacks(one, list(RECORDS))
    tally.count("hostile content of the record", len(RECORDS), problems)
    assert problems == []


def test_a_note_in_staging_with_hostile_content(attacks, tally):
    """It is not believed; what it tells of is then adopted, and everything goes on."""

    def one(top, case):
        attack = Attack(top, "killed")
        place = attack.place(".cm_persist/staging/{label}/entry.json")
        with open(place) as file:
            note = json.load(file)
        _write(place, NOTES[case](note))
        wrong = attack.outcome(place, True) + attack.scene.problems_after_rerun()
        attack.scene.remove()
        return wrong

    problems = attacks(one, list(NOTES))
    tally.count("hostile content of a note in staging", len(NOTES), problems)
    assert problems == []


def _write(place, content):
    with open(place, "wb") as file:
        file.write(content if isinstance(content, bytes) else json.dumps(content).encode())
