# SPDX-License-Identifier: Apache-2.0
"""A life that is being lived: what an application, a person and cm_persist do, one after the other, each judged at once."""

import os
import random
import shutil
import tempfile
from collections import Counter
from typing import List, NamedTuple

from .deeds import ERRORS, QUIET, REFUSED, Trouble, perform
from .lives_world import NAMES, Options, World
from .promise import STUCK, UNSETTLED, Promise

ACTS = ("start", "again", "roll back", "unseed", "restore store", "restore aside", "restore newest")
STARTS = ("start", "again")
USES = ("write", "delete", "rename", "replace", "lead elsewhere")
SPARE = ("one", "own", "sub/three", "sub/own", "deep/own")  # what an application may write besides what is there


class Happening(NamedTuple):
    """What happens, with a number that decides its details, and what disturbs it."""

    what: str
    number: int = 0
    trouble: Trouble = QUIET

    def __str__(self):
        return "{}{}".format(self.what, self.trouble)


class Story(NamedTuple):
    """A life as it was lived: a line for each happening, what was wrong as (kind, str), and counts."""

    lines: List[str]
    problems: List[tuple]
    counts: Counter


def live(life, top, world=World):
    """Story: of a Life that is lived in a directory of its own below another, in a World or a kind of it."""
    directory = tempfile.mkdtemp(dir=top)
    os.chmod(directory, 0o755)
    living = _Living(world(directory, life.setup))
    try:
        for happening in life.happenings:
            if not living.problems:
                living.happen(happening)
        if not living.problems:
            living.end()
    finally:
        living.world.remove()
    return Story(living.lines, living.problems, living.counts)


class _Living:
    """A life up to now.

    up: the application runs, as nothing was disturbed since. settled: nothing was done since a start, so that another one changes
    nothing. tampered: the volumes that a person has changed by hand.
    """

    def __init__(self, world):
        self.world, self.promise = world, Promise(world)
        self.lines, self.problems, self.counts = [describe(world.setup)], [], Counter()
        self.up, self.settled, self.tampered = True, False, set()
        for name in NAMES:
            self.promise.used(name)
        for name in world.setup.stored:
            self._put(world.stored(name) + ("/own" if os.path.isdir(world.stored(name)) else ""), None)

    def happen(self, happening):
        """Let something happen, if it can, and judge it."""
        what, number = happening.what, happening.number
        if what in ACTS:
            told = self._act(happening)
        elif what in USES:
            name = list(NAMES)[number % len(NAMES)]
            told = self.up and getattr(self, "_" + what.replace(" ", "_"))(name, self.world.shows(name), number // len(NAMES))
        else:
            told = getattr(self, "_" + what.replace(" ", "_"))(number)
        if told:
            self.settled = self.settled and what in ACTS
            self.lines.append("{}: {}".format(happening, told))
        self.lines += ["    WRONG, {}: {}".format(*problem) for problem in self.problems]

    def end(self):
        """At its end a start must be possible, with a new container if need be; and a second one changes nothing."""
        if self.world.options != Options():
            self.world.options, self.settled = Options(), False
        for escape in ("volume", "container"):
            self.happen(Happening("start"))
            if self.problems or self.up:
                break
            if escape == "container" or self.world.volume is None:
                self.happen(Happening(escape))
        if not self.problems:
            self.happen(Happening("again" if self.up else "start"))
        if not self.problems and not self.up:
            self.counts["refused for good"] += 1
            if self.world.volume not in self.tampered:
                self.problems.append((STUCK, "no start comes to its end"))
                self.lines.append("    WRONG, stuck: no start comes to its end")

    def _act(self, happening):
        what, settled = happening.what, self.settled
        if (what == "again" and not settled) or (what in ("roll back", "unseed") and self.world.volume is None):
            return None
        deed = perform(self.world.acts(what), happening.trouble)
        self.up = deed.done and (self.up or what not in ("roll back", "unseed"))
        self.settled = deed.done and what in STARTS
        self.counts.update(["acts", deed.how])
        self.counts["failed"] += happening.trouble.what in ERRORS and deed.how == REFUSED
        if what in STARTS:
            self.problems += self.promise.after_start(deed)
        else:
            self.problems += self.promise.went_back(deed, restored=what.startswith("restore"))
        if what == "again" and deed.done and deed.changed:
            self.problems.append((UNSETTLED, "a start changed something after another: {}".format(deed.steps)))
        told = "{}\n{}".format(deed.how, "\n".join("        " + text for text in (*deed.said, *map("- {}".format, deed.steps))))
        for long, short in ((self.world.store + self.world.image, "STORE"), (self.world.store, "STORE"), (self.world.image, "")):
            told = told.replace(long, short)
        return told

    # What an application does at a state path, which shows these files; None where it cannot.

    def _write(self, name, shown, number):
        if shown is None:
            return None
        choice = sorted({*shown, *(() if "." in shown else SPARE)})
        relative, owner = choice[number % len(choice)], "db" if number % 5 == 0 else "app"
        path = self._file(name, relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if number % 2 or name in self.world.setup.bound:  # a mount point cannot be replaced
            text = self._put(path, owner)
        else:
            text = self._put(path + ".written", owner)
            os.replace(path + ".written", path)
        self.promise.used(name, [shown.get(relative)])
        return "{} {} is {!r}".format(name, relative, text)

    def _delete(self, name, shown, number):
        if not shown or "." in shown:
            return None
        relative = sorted(shown)[number % len(shown)]
        os.unlink(self._file(name, relative))
        self.promise.used(name, [shown[relative]])
        return "{} {}".format(name, relative)

    def _rename(self, name, shown, number):
        if not shown or "." in shown:
            return None
        relative, new = sorted(shown)[number % len(shown)], "renamed{}".format(number)
        os.rename(self._file(name, relative), self._file(name, new))
        self.promise.used(name, [shown.get(new)])
        return "{} {} to {}".format(name, relative, new)

    def _replace(self, name, shown, _number):
        path = self.world.path(name)
        if not shown or "." in shown or not os.path.islink(path):
            return None
        os.unlink(path)
        os.mkdir(path)
        text = self._put(path + "/own", "app")
        self.promise.used(name)
        return "{} by a directory with {!r}".format(name, text)

    def _lead_elsewhere(self, name, _shown, _number):
        if not os.path.islink(self.world.path(name)):
            return None
        os.unlink(self.world.path(name))
        os.makedirs(self.world.path("elsewhere"), exist_ok=True)
        os.symlink(self.world.path("elsewhere"), self.world.path(name))
        self.promise.used(name)
        return name

    def _file(self, name, relative):
        return os.path.normpath(os.path.join(self.world.path(name), relative))

    def _put(self, path, owner):
        """str: the text that a file now has; owner as Promise.acknowledged() takes it."""
        users = self.world.image_now.accounts.users
        text = self.promise.acknowledged(owner if owner in (None, *users) else "app")
        with open(path, "w") as file:
            file.write(text)
        os.chown(path, *[users.get(owner, users["app"])] * 2)
        return text

    # What a person does; None where that changes nothing.

    def _container(self, _number):
        return self._new_container(None)

    def _image(self, number):
        following = min(self.world.image_now.number, len(self.world.setup.images) - 1)
        return self._new_container(following if number % 4 else number % 3)

    def _new_container(self, number):
        self.world.new_container(number)
        self.up = False
        self.promise.new_container()
        return "new, of image {}".format(self.world.image_now.number)

    def _options(self, number):
        chance = random.Random(number)
        names = [name for name in NAMES if chance.random() < 0.75] or ["data"]
        policies = chance.choices(("keep", "merge", "fail"), (4, 12, 1), k=len(NAMES))
        self.world.options = Options(tuple(names), tuple(policies), chance.choice((0, 1, 1, 2)), chance.random() < 0.9)
        return self.world.options

    def _volume(self, number):
        return self._mount(number % 2)

    def _no_volume(self, _number):
        return self._mount(None)

    def _mount(self, number):
        if number == self.world.volume:
            return None
        self.world.mount_volume(number)
        self.up = False
        return "volume {}".format(number)

    def _empty(self, _number):
        return self._tamper(self.world.empty_volume, lambda: self.promise.lines.pop(self.world.volume, None))

    def _save(self, _number):
        if self.world.volume is None:
            return None
        self.world.save_volume()
        self.promise.save()
        return "a copy of volume {}".format(self.world.volume)

    def _put_back(self, _number):
        if self.world.volume not in self.promise.saved:
            return None
        return self._tamper(self.world.put_back_volume, self.promise.put_back)

    def _lose_record(self, _number):
        record = self.world.books + "/record.json"
        if not os.path.exists(record):
            return None
        return self._tamper(lambda: shutil.move(record, self.world.top + "/record"), self.promise.lost_the_books)

    def _reboot(self, _number):
        if not self.world.setup.bound:
            return None
        self.world.reboot()
        self.up = False
        return "the mounts are gone"

    def _tamper(self, act, remember):
        if self.world.volume is None:
            return None
        act()
        remember()
        self.promise.let_go()
        self.tampered.add(self.world.volume)
        self.up = False
        return "volume {}".format(self.world.volume)


def describe(setup):
    """str: a Setup."""
    lines = ["{}, bound: {}, in the store: {}".format("overlay" if setup.overlay else "plain", setup.bound, setup.stored)]
    for image in setup.images:
        traits = [trait for trait in ("named", "listed") if getattr(image, trait)]
        files = {name: {path: text.split()[1] for path, text in each.items()} for name, each in image.files.items()}
        lines.append("    image {}, {}, versions of files: {}, {}".format(image.number, traits, files, image.accounts.users))
    return "\n".join(lines)
