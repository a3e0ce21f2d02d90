# SPDX-License-Identifier: Apache-2.0
"""The promise, as a model that judges each act of a life:

What an application wrote and had acknowledged is found at its path, or under a name that the log of that start tells; no start
ever shows older content than the one before without refusing or saying so.

What a person takes away, with a container or a volume, is owed no longer. A person who goes back sees older content on purpose.
"""

import re

from .deeds import CRASHED, HUNG
from .lives_world import NAMES

NEW_SUFFIX = ".cm_persist-new"  # of an image's version that lies beside the application's
LOST, OLDER, UNTOLD, OWNER, UNSETTLED, STUCK = "lost", "older", "untold", "owner", "unsettled", "stuck"
# What a warning says that speaks of an image's files alone.
OF_IMAGES = re.compile("the volume hides|the volume still has|lie beside|are kept as they are, not merged")
# A copy that is being made, or was taken out of the store: what it was made of is what counts.
DRAFT = re.compile(r"/\.cm_persist/staging/[^/]*-[0-9a-f]{12}(-unseeded)?/|/\.[^/]*\.cm_persist-copy/")


class Gone(int):
    """The time at which an application deleted a file."""


class Promise:
    """What a World owes its application.

    Attributes:
        owed (dict): to its owner, each version that was acknowledged and that the application did not itself replace or delete.
        told (set of tuple): those of them that are at no state path, each with a place of it that a log has named since.
        elsewhere (set of str): those of them that an earlier tool put on a volume, and no start has shown.
        own (dict): state path to what it had of its own when it was last used: path of a file to its text, or Gone.
        lines (dict): volume to the same of what was last seen of it at state paths.
        forgiven (set of str): state paths that a person began to give older content.
        warned (tuple of str): what the logs say of the starts since one came to its end.
        unfinished (set of str): those that a start which did not come to its end may have merged with an image.
    """

    def __init__(self, world):
        self.world, self.clock = world, 0
        self.owed, self.told, self.forgiven, self.unfinished = {}, set(), set(), set()
        self.own, self.lines, self.saved, self.warned, self.elsewhere = {}, {}, {}, (), set()

    def acknowledged(self, owner="app"):
        """str: a text that is new, and from now on owed; owner is the name of its owner, None if an earlier tool put it there."""
        self.clock += 1
        text = "app {}".format(self.clock)
        self.owed[text] = owner
        self.elsewhere.update(() if owner else (text,))
        return text

    def used(self, name, replaced=()):
        """An application has changed a state path itself, and thereby done away with these texts."""
        self.clock += 1
        for text in replaced:
            self.owed.pop(text, None)
        self._see(name, Gone(self.clock))

    def let_go(self):
        """A person took something away: what went with it is not owed."""
        places = self.world.places()
        gone = [text for text in self.owed if all(map(DRAFT.search, places.get(text, ())))]
        for text in gone:
            del self.owed[text]

    def save(self):
        """A person keeps a copy of the volume."""
        self.saved = {self.world.volume: dict(self.lines.get(self.world.volume, {}))}

    def put_back(self):
        """The volume is as it was when it was saved."""
        self.lines[self.world.volume] = dict(self.saved[self.world.volume])

    def lost_the_books(self):
        """A volume without its record is as one of an earlier tool."""
        self.lines.pop(self.world.volume, None)
        self.elsewhere.update(self.owed)

    def new_container(self):
        """What the state paths had of their own went with the old container."""
        self.own.clear()
        self.let_go()

    def went_back(self, deed, restored):
        """list of (kind, str): what is wrong after a person has rolled back, or taken paths out of the store, or restored."""
        names = self.world.options.names
        if not deed.done:
            self.forgiven.update(names)
            return self.after_any(deed)
        self.lines[self.world.volume] = line = dict(self.lines.get(self.world.volume, {}))
        for name in names:
            if name in line:
                line[name] = self.world.stores(name) or {}
            if restored:
                self._see(name)
        self._hear(deed.said + deed.steps)
        return self.after_any(deed)

    def after_any(self, deed):
        """list of (kind, str): what is wrong after whatever happened."""
        if deed.how in (HUNG, CRASHED):
            return [(deed.how, "\n".join(deed.said))]
        found = self.world.places()
        return [(LOST, "{!r} is nowhere".format(text)) for text in sorted(self.owed) if text not in found]

    def after_start(self, deed):
        """list of (kind, str): what is wrong after a start."""
        problems = self.after_any(deed)
        if not deed.done:
            self.unfinished.update(NAMES)
            self.warned += deed.said
            self._hear(deed.said)
            return problems
        self._hear((*self.warned, *deed.said, *(deed.steps if self.forgiven else ())))
        problems += self._untold()
        said = [text for text in (*self.warned, *deed.said) if not OF_IMAGES.search(text)]
        for name in NAMES:
            if not any(names_path(self.world.path(name), text) for text in said):
                merged = name in self.unfinished or deed.states.get(self.world.path(name)) == "merged"
                problems += [(OLDER, "{}: {}".format(name, text)) for text in self._older(name, merged)]
            self._see(name)
            if self.world.leads_into_store(name):
                self.forgiven.discard(name)
                self.unfinished.discard(name)
        self.warned = ()
        return problems + self._wrong_owners()

    def _older(self, name, merged):
        """list of str: which files of a state path are older than they were."""
        now, leads = self.world.shows(name) or {}, self.world.leads_into_store(name)
        own, line = self.own.get(name, {}), self.lines.get(self.world.volume, {}).get(name, {})
        if own:  # what it has of the image is no work of the application's
            own = own if not leads else {path: text for path, text in own.items() if not is_of_image(text)}
        found = [] if name in self.forgiven or (own and not leads) else [(line, path) for path in line]
        found += [(own, path) for path in own]
        text = "{} was {!r}, and is {!r}"
        return [
            text.format(path, before[path], now.get(path))
            for before, path in found
            if not (path.endswith(NEW_SUFFIX) and before[path] in now.values())  # a merge gives it another name
            and self._is_older(name, path, (before[path], now.get(path)), merged)
        ]

    def _is_older(self, name, path, texts, merged):
        """bool: whether a file went from one of two texts to the other, None for no file, without right."""
        before, now = texts
        if before == now or (now is None and isinstance(before, Gone)):
            return False
        if merged and is_of_image(before) and (now is None or is_of_image(now)):
            return False  # it follows the image
        if now is None:
            return True
        if isinstance(before, Gone) and merged and is_of_image(now):
            # Deleted ones stay deleted; but a name that no image had until now is a new one.
            return any(path in image.files.get(name, ()) for image in self.world.setup.images[: self.world.image_now.number - 1])
        return age(now) < age(before)

    def _see(self, name, gone=None):
        """Remember what a state path shows now; what it has no longer is gone (Gone), or as if it had never been (None)."""
        shown, leads = self.world.shows(name), self.world.leads_into_store(name)
        before = self.own.pop(name, {})
        if leads:
            before = self.lines.setdefault(self.world.volume, {}).get(name, {})
        left = {path: text if isinstance(text, Gone) else gone for path, text in before.items()}
        if shown is not None:
            seen = dict({path: text for path, text in left.items() if text is not None}, **shown)
            (self.lines[self.world.volume] if leads else self.own)[name] = seen

    def _visible(self):
        return {text for name in NAMES for text in (self.world.shows(name) or {}).values()}

    def _hidden(self):
        """dict: to where they are, the versions that are owed and at no state path."""
        hidden = set(self.owed) - self._visible()
        places = self.world.places() if hidden else {}
        return {text: places.get(text, []) for text in hidden}

    def _hear(self, said):
        """Take note of the places that a log names."""
        hidden = self._hidden()
        self.elsewhere.intersection_update(hidden)
        self.told = {(text, place) for text, place in self.told if text in hidden}
        self.told |= {(text, place) for text, places in hidden.items() for place in places if self._is_named(place, said)}

    def _untold(self):
        """list of (kind, str): what is only where no log has told."""
        hidden = sorted(self._hidden().items())
        known = {text for text, place in self.told if place in dict(hidden).get(text, ())} | self.elsewhere
        return [(UNTOLD, "{!r} is at {} alone".format(text, places)) for text, places in hidden if places and text not in known]

    def _is_named(self, place, said):
        """bool: whether the texts name a place, or what it lies in, as it is named in the container."""
        world = self.world
        if place.startswith(world.top + "/volumes/"):
            return True  # a person keeps it
        for top, there in ((world.store, ""), (world.beneath, world.image)):
            place = there + place[len(top) :] if place.startswith(top + "/") else place
        if place.startswith("/.cm_persist/"):
            # Once a person has begun to go back, or where it is named as .cm_persist/backups/LABEL.
            kept = "/".join(place.split("/")[1:4])
            return "/backups/" in kept and (bool(self.forgiven) or any(kept in text for text in said))
        parts = place.split("/")
        above = ["/".join(parts[:number]) for number in range(len(parts), 1, -1)]
        above = [path for path in above if path.startswith(tuple(map(world.path, NAMES)))]
        return any(names_path(path, text) for path in above for text in said)

    def _wrong_owners(self):
        """list of (kind, str): what an application wrote, and belongs to somebody else now."""
        found, users = [], {number: name for name, number in self.world.image_now.accounts.users.items()}
        for name in NAMES:
            for path, text in (self.world.shows(name) or {}).items():
                owner, its = users.get(self.world.owner(name, path)), self.owed.get(text)
                if its and owner != its and (owner or its in users.values()):
                    found.append((OWNER, "{}: {} {!r} of {} belongs to {}".format(name, path, text, its, owner)))
        return found


def is_of_image(text):
    """bool: whether an image had it."""
    return isinstance(text, str) and text.startswith("image ")


def age(text):
    """int: when it came to be: that of an image is older than all that an application does."""
    if isinstance(text, Gone):
        return text
    return int(text.split()[1]) - (1000 if is_of_image(text) else 0)


def names_path(path, text):
    """bool: whether a text names a path, and not one next to it."""
    return re.search(re.escape(path) + r"(?![\w-]|\.\w)", text) is not None
