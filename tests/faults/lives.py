# SPDX-License-Identifier: Apache-2.0
"""Whole lives: what happens to a manager in its containers and volumes, drawn at random, lived, judged, and made short.

A life is its setup and a list of happenings. Each of these stands for itself, so that a life without some of them is a life, too.
"""

import os
import random
import shutil
import tempfile
from collections import Counter
from typing import List, NamedTuple, Tuple

from module_utils.cm_persist.fs.accounts import Accounts

from .deeds import KILL, QUIET, REFUSED, Deed, Trouble, perform
from .lives_world import NAMES, Image, Options, Setup, World, texts
from .promise import STUCK, UNSETTLED, Promise

ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EINTR")
SPARE = ("one", "own", "sub/three", "sub/own", "deep/own")  # what an application may write besides what is there
WEIGHTS = {
    "start": 12, "again": 3, "write": 9, "delete": 2, "rename": 2, "replace": 2, "lead elsewhere": 0.3, "container": 4,
    "image": 7, "options": 3, "restore store": 1, "restore aside": 1, "restore newest": 1, "roll back": 5, "unseed": 1.5,
    "volume": 1, "no volume": 0.5, "empty": 0.2, "save": 0.7, "put back": 0.7, "lose record": 0.3, "reboot": 1,
}  # fmt: skip
ACTS = ("start", "roll back", "unseed", "restore store", "restore aside", "restore newest")
TRIES = 250  # shorter lives that are tried


class Happening(NamedTuple):
    """What happens, with a number that decides its details, and what disturbs it."""

    what: str
    number: int = 0
    trouble: Trouble = QUIET

    def __str__(self):
        return "{} [{}]{}".format(self.what, self.number, self.trouble)


class Life(NamedTuple):
    """A life as it is drawn."""

    setup: Setup
    happenings: Tuple[Happening, ...]


class Story(NamedTuple):
    """A life as it was lived: a line for each happening, what was wrong, and counts."""

    lines: List[str]
    problems: List[tuple]
    counts: Counter


def draw(seed):
    """Life: of a number (int)."""
    chance = random.Random(seed)
    overlay = chance.random() < 0.3
    bound = tuple(name for name in NAMES if chance.random() < 0.5) if chance.random() < 0.1 else ()
    images = _draw_images(chance)
    stored = tuple(name for name in images[0].files if chance.random() < 0.7) if chance.random() < 0.15 else ()
    setup = Setup(images, overlay, bound, stored)
    whats = _draw_whats(chance)
    return Life(setup, tuple(Happening(what, chance.randrange(1000), _draw_trouble(chance, what)) for what in whats))


def _draw_whats(chance):
    """list of str: things that happen after one another, as they mostly do."""
    whats, length = chance.choice((["options"], ["write"], ["options", "start"])), chance.randint(5, 16)
    while len(whats) < length:
        weights = dict(WEIGHTS)
        if whats[-1] in ("container", "image", "options", "volume", "no volume", "put back", "reboot"):
            weights["start"] = 100
        elif whats[-1] == "start":
            weights.update({"write": 15, "again": 5, "start": 5, "image": 10})
        whats += chance.choices(list(weights), list(weights.values()))
    return whats


def _draw_trouble(chance, what):
    if what not in ACTS or chance.random() < 0.55:
        return QUIET
    at = int(chance.triangular(0, 150, 30))
    if chance.random() < 0.65:
        return Trouble(KILL, at)
    return Trouble(chance.choice(ERRORS), at, chance.random() < 0.3)


def _draw_images(chance):
    images, files, taken = [], {}, set()
    named, listed = chance.random() < 0.5, chance.random() < 0.6
    for number in (1, 2, 3):
        files = {name: dict(files.get(name, {})) for name in NAMES}
        for name, relatives in NAMES.items():
            for relative in relatives:
                if relative in files[name] and chance.random() < 0.15 and relative != ".":
                    del files[name][relative]
                    taken.add((name, relative))
                elif (name, relative) not in taken and chance.random() < (0.4 if relative in files[name] else 0.7):
                    files[name][relative] = "image {} {}/{}".format(number, name, relative)
        numbers = {"root": 0, **dict(zip(("app", "db"), chance.sample((901, 902, 903), chance.choice((1, 2)))))}
        shipped = {name: dict(each) for name, each in files.items() if each}
        images.append(Image(number, shipped, Accounts(numbers, dict(numbers)), named, listed))
    return tuple(images)


def live(life, top, world=World):
    """Story: of a life that is lived in a directory of its own below another, in a World or a kind of it."""
    directory = tempfile.mkdtemp(dir=top)
    os.chmod(directory, 0o755)
    living = _Living(world(directory, life.setup))
    try:
        for happening in life.happenings:
            if living.problems:
                break
            living.happen(happening)
        if not living.problems:
            living.end()
    finally:
        living.world.remove()
    return Story(living.lines, living.problems, living.counts)


def shortened(life, top):
    """tuple: (Life, Story) of the shortest life that was found to go wrong in the same way."""
    story, tries = live(life, top), 0
    size = len(life.happenings)
    while size:
        at = 0
        while at < len(life.happenings) and tries < TRIES:
            shorter = life._replace(happenings=life.happenings[:at] + life.happenings[at + size :])
            tries, lived = tries + 1, live(shorter, top)
            if _alike(lived, story):
                life, story = shorter, lived
            else:
                at += size
        size //= 2
    for simpler in _simpler(life):
        lived = live(simpler(life), top)
        if _alike(lived, story):
            life, story = simpler(life), lived
    return life, story


def _alike(story, other):
    return [kind for kind, _text in story.problems][:1] == [kind for kind, _text in other.problems][:1]


def _simpler(life):
    """Yield functions that make a Life simpler."""
    for at in range(len(life.happenings)):
        yield lambda life, at=at: life._replace(
            happenings=life.happenings[:at] + (life.happenings[at]._replace(trouble=QUIET),) + life.happenings[at + 1 :]
        )
    yield lambda life: life._replace(setup=life.setup._replace(bound=()))
    yield lambda life: life._replace(setup=life.setup._replace(overlay=False))
    yield lambda life: life._replace(setup=life.setup._replace(stored=()))
    for trait in ("named", "listed"):
        for value in (False, True):
            yield lambda life, trait=trait, value=value: life._replace(
                setup=life.setup._replace(images=tuple(image._replace(**{trait: value}) for image in life.setup.images))
            )


class _Living:
    """A life that is being lived. up: what is there is in use, as nothing was disturbed since; settled: nor was anything done
    since a start. tampered: volumes that a person has changed by hand."""

    def __init__(self, world):
        self.world, self.promise = world, Promise(world)
        self.lines, self.problems, self.counts = [str(describe(world.setup))], [], Counter()
        self.up, self.settled, self.tampered = True, False, set()
        for name in NAMES:
            self.promise.used(name)
        for name in world.setup.stored:
            own = world.stored(name) + ("/own" if os.path.isdir(world.stored(name)) else "")
            with open(own, "w") as file:
                file.write(self.promise.acknowledged(None))
            shutil.chown(own, *[world.image_now.accounts.users["app"]] * 2)

    def happen(self, happening):
        """Let something happen, and judge it."""
        method = getattr(self, "_" + happening.what.split()[0], None)
        if happening.what in ACTS or happening.what == "again":
            told = self._act(happening)
        elif happening.what in ("write", "delete", "rename", "replace", "lead elsewhere"):
            told = self.up and method(happening.number)
            self.settled = self.settled and not told
        else:
            told = getattr(self, "_" + happening.what.replace(" ", "_"))(happening.number)
            self.settled = False
        if told:
            self.counts["happenings"] += 1
            self.lines.append("{}: {}".format(happening, told))
        self.lines += ["    WRONG, {}: {}".format(*problem) for problem in self.problems]

    def end(self):
        """At its end, a start must be possible, with a new container if need be; and a second one changes nothing."""
        if self.world.options != Options():
            self.world.options, self.settled = Options(), False
        for escape in (None, "volume", "container", "volume"):
            if escape == "container" or (escape and self.world.volume is None):
                self.happen(Happening(escape, 0))
            self.happen(Happening("start"))
            if self.problems or self.up:
                break
        if not self.problems and not self.up:
            self.counts["refused for good"] += 1
            if self.world.volume not in self.tampered:
                self.problems.append((STUCK, "no start comes to its end"))
                self.lines.append("    WRONG, stuck: {}".format(self.problems))
        elif not self.problems:
            self.happen(Happening("again"))

    # Acts of cm_persist.

    def _act(self, happening):
        what, settled = happening.what, self.settled
        if what == "again" and not settled:
            return None
        if what in ("roll back", "unseed") and self.world.volume is None:
            return None
        word, _blank, how = what.partition(" ")
        acts = {
            "start": self.world.start,
            "again": self.world.start,
            "roll": self.world.roll_back,
            "unseed": self.world.unseed,
            "restore": lambda: self.world.restore(how),
        }[word]()
        deed = perform(acts, happening.trouble)
        self.counts["acts"] += 1
        self.counts[deed.how] += 1
        self.counts["failed"] += happening.trouble.what in ERRORS and deed.how == REFUSED
        self.counts.update("{} {}".format(word, state) for state in deed.states.values())
        self.up = deed.done and (self.up or word not in ("roll", "unseed"))
        self.settled = deed.done and word in ("start", "again")
        if word not in ("start", "again"):
            self.problems += self.promise.went_back(deed, word == "restore")
        else:
            self.problems += self.promise.after_start(deed)
        if settled and self.settled and deed.changed:
            self.problems.append((UNSETTLED, "a start changed something after another: {}".format(deed.steps)))
        options = self.world.options
        asked = "{} of {}, backups {}".format(", ".join(map("{0[0]} ({0[1]})".format, zip(options.names, self._policies()))), what, options.backups)
        told = "\n".join([asked + " -> " + deed.how, *("        " + text for text in (*deed.said, "--", *deed.steps))])
        for long, short in ((self.world.store + self.world.image, "STORE"), (self.world.store, "STORE"), (self.world.image, "")):
            told = told.replace(long, short)
        return told

    def _policies(self):
        return [policy for name, policy in zip(NAMES, self.world.options.policies) if name in self.world.options.names]

    # What an application does.

    def _path_at(self, number):
        """tuple: a state path and what it shows, by a number; None where nothing is shown."""
        name = list(NAMES)[number % len(NAMES)]
        return name, self.world.shows(name)

    def _write(self, number):
        name, shown = self._path_at(number)
        if shown is None:
            return None
        choice = sorted({*shown, *(SPARE if "." not in shown else ())})
        relative = choice[number // 3 % len(choice)]
        users = self.world.image_now.accounts.users
        owner = "db" if number % 5 == 0 and "db" in users else "app"
        text, path = self.promise.acknowledged(owner), self._file(name, relative)
        new = path + ".written"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        in_place = (number % 2 and relative in shown) or name in self.world.setup.bound  # a mount point cannot be replaced
        with open(path if in_place else new, "w") as file:
            file.write(text)
        if not in_place:
            os.replace(new, path)
        os.chown(path, users[owner], users[owner])
        self.promise.used(name, [shown.get(relative)])
        return "{} {} is {!r}, of {}".format(name, relative, text, owner)

    def _delete(self, number):
        name, shown = self._path_at(number)
        if not shown or "." in shown:
            return None
        relative = sorted(shown)[number // 3 % len(shown)]
        os.unlink(self._file(name, relative))
        self.promise.used(name, [shown[relative]])
        return "{} {}".format(name, relative)

    def _rename(self, number):
        name, shown = self._path_at(number)
        if not shown or "." in shown:
            return None
        relative, new = sorted(shown)[number // 3 % len(shown)], "renamed{}".format(number)
        os.rename(self._file(name, relative), self._file(name, new))
        self.promise.used(name, [shown.get(new)])
        return "{} {} to {}".format(name, relative, new)

    def _replace(self, number):
        name, shown = self._path_at(number)
        path = self.world.path(name)
        if not shown or "." in shown or not os.path.islink(path):
            return None
        os.unlink(path)
        os.mkdir(path)
        with open(path + "/own", "w") as file:
            file.write(self.promise.acknowledged())
        owner = self.world.image_now.accounts.users["app"]
        os.chown(path + "/own", owner, owner)
        self.promise.used(name)
        return "{} by a directory with {}".format(name, texts(path))

    def _lead(self, number):
        name, _shown = self._path_at(number)
        if not os.path.islink(self.world.path(name)):
            return None
        os.unlink(self.world.path(name))
        os.makedirs(self.world.path("elsewhere"), exist_ok=True)
        os.symlink(self.world.path("elsewhere"), self.world.path(name))
        self.promise.used(name)
        return name

    def _file(self, name, relative):
        return os.path.normpath(os.path.join(self.world.path(name), relative))

    # What a person does.

    def _container(self, _number):
        self.world.new_container()
        return self._container_began()

    def _image(self, number):
        images = self.world.setup.images
        self.world.new_container(number % 3 if number % 4 == 0 else min(self.world.image_now.number, len(images) - 1))
        return self._container_began()

    def _container_began(self):
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
        return number

    def _empty(self, _number):
        return self._tamper(self.world.empty_volume, lambda: self.promise.lines.pop(self.world.volume, None))

    def _save(self, _number):
        if self.world.volume is None:
            return None
        self.world.save_volume()
        self.promise.saved = {self.world.volume: dict(self.promise.lines.get(self.world.volume, {}))}
        return self.world.volume

    def _put_back(self, _number):
        if self.world.volume not in self.promise.saved:
            return None
        return self._tamper(self.world.put_back_volume, lambda: self.promise.lines.update(self.promise.saved))

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
        lines.append("    image {} {} {} {}".format(image.number, traits, files, image.accounts.users))
    return "\n".join(lines)
