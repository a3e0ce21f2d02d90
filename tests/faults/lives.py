# SPDX-License-Identifier: Apache-2.0
"""Whole lives, drawn at random, and made short where they go wrong.

A life is a setup and a list of happenings. Each of these stands for itself, so that a life without some of them is a life, too.
"""

import random
from typing import NamedTuple, Tuple

from module_utils.cm_persist.fs.accounts import Accounts

from .deeds import ERRORS, KILL, QUIET, Trouble
from .lives_world import NAMES, Image, Setup
from .living import ACTS, Happening, live

WEIGHTS = {
    "start": 12, "again": 3, "write": 9, "delete": 2, "rename": 2, "replace": 2, "lead elsewhere": 0.3, "container": 4,
    "image": 7, "options": 3, "restore store": 1, "restore aside": 1, "restore newest": 1, "roll back": 5, "unseed": 1.5,
    "volume": 1, "no volume": 0.5, "empty": 0.2, "save": 0.7, "put back": 0.7, "lose record": 0.3, "reboot": 1,
}  # fmt: skip
AFTER_A_START = {"write": 15, "again": 5, "start": 5, "image": 10}
# What is mostly followed by a start.
BEFORE_A_START = ("container", "image", "options", "volume", "no volume", "put back", "reboot")
TRIES = 250  # shorter lives that are tried


class Life(NamedTuple):
    """A life as it is drawn."""

    setup: Setup
    happenings: Tuple[Happening, ...]

    def without(self, at, size):
        """Life: without so many happenings, from that one on."""
        return self._replace(happenings=self.happenings[:at] + self.happenings[at + size :])

    def undisturbed(self, at):
        """Life: in which nothing disturbs that happening."""
        quiet = self.happenings[at]._replace(trouble=QUIET)
        return self._replace(happenings=(*self.happenings[:at], quiet, *self.happenings[at + 1 :]))

    def set_up(self, **traits):
        """Life: with another Setup."""
        return self._replace(setup=self.setup._replace(**traits))


def draw(seed):
    """Life: of a number (int)."""
    chance = random.Random(seed)
    overlay = chance.random() < 0.3
    bound = tuple(name for name in NAMES if chance.random() < 0.5) if chance.random() < 0.1 else ()
    images = _draw_images(chance)
    stored = tuple(name for name in images[0].files if chance.random() < 0.7) if chance.random() < 0.15 else ()
    happenings = (Happening(what, chance.randrange(1000), _draw_trouble(chance, what)) for what in _draw_whats(chance))
    return Life(Setup(images, overlay, bound, stored), tuple(happenings))


def shortened(life, top):
    """tuple: (Life, Story) of the shortest life that was found to go wrong in the same way."""
    story, size, tries = live(life, top), len(life.happenings), TRIES
    while size:
        at = 0
        while at < len(life.happenings) and tries:
            lived, tries = live(life.without(at, size), top), tries - 1
            if _alike(lived, story):
                life, story = life.without(at, size), lived
            else:
                at += size
        size //= 2
    for simpler in _simpler(life):
        lived = live(simpler(life), top)
        if _alike(lived, story):
            life, story = simpler(life), lived
    return life, story


def _draw_whats(chance):
    """list of str: things that happen after one another, as they mostly do."""
    whats, length = chance.choice((["options"], ["write"], ["options", "start"])), chance.randint(5, 16)
    while len(whats) < length:
        weights = dict(WEIGHTS)
        if whats[-1] in BEFORE_A_START:
            weights["start"] = 100
        elif whats[-1] == "start":
            weights.update(AFTER_A_START)
        whats += chance.choices(list(weights), list(weights.values()))
    return whats


def _draw_trouble(chance, what):
    if what not in ACTS or chance.random() < 0.55:
        return QUIET
    at = int(chance.triangular(0, 150, 30))  # an act has up to some 150 changes
    if chance.random() < 0.65:
        return Trouble(KILL, at)
    return Trouble(chance.choice(ERRORS), at, lasting=chance.random() < 0.3)


def _draw_images(chance):
    images, files, removed = [], {}, set()
    named, listed = chance.random() < 0.5, chance.random() < 0.6
    for number in (1, 2, 3):
        files = {name: dict(files.get(name, {})) for name in NAMES}
        for name, path in [(name, path) for name, paths in NAMES.items() for path in paths]:
            there = path in files[name]
            if there and path != "." and chance.random() < 0.15:
                del files[name][path]
                removed.add((name, path))  # for good: what comes again was never new
            elif (name, path) not in removed and chance.random() < (0.4 if there else 0.7):
                files[name][path] = "image {} {}/{}".format(number, name, path)
        numbers = dict(zip(("app", "db"), chance.sample((901, 902, 903), chance.choice((1, 2)))), root=0)
        shipped = {name: dict(each) for name, each in files.items() if each}
        images.append(Image(number, shipped, Accounts(numbers, numbers), named, listed))
    return tuple(images)


def _alike(story, other):
    return [kind for kind, _text in story.problems][:1] == [kind for kind, _text in other.problems][:1]


def _simpler(life):
    """list: functions that make a Life of as many happenings simpler."""
    simpler = [lambda life, at=at: life.undisturbed(at) for at in range(len(life.happenings))]
    for traits in ({"bound": ()}, {"overlay": False}, {"stored": ()}):
        simpler.append(lambda life, traits=traits: life.set_up(**traits))
    for trait in ("named", "listed"):
        simpler.append(
            lambda life, trait=trait: life.set_up(images=tuple(image._replace(**{trait: False}) for image in life.setup.images))
        )
    return simpler
