# SPDX-License-Identifier: Apache-2.0
"""Decide file by file when a new image meets an old volume. Three trees are read side by side, in the order of walk():

    base    the image that the path was seeded from or merged with last (base.py)
    store   the volume now
    new     the running image

    base  store  new    what is done
    A     A      B      take B              only if the list of the image has A: otherwise as in the row below
    A     B      C      keep B, and put C next to it
    A     A      -      remove it           only if the list of the image has A: otherwise keep it
    A     -      any    nothing: it was deleted
    -     -      A      add A
    -     A      B      keep A, and put B next to it
    all else            keep the store's

A and B differ by type, mode, owner, content or, for a large file, time. Owners are compared by their names, as an image may give
them other numbers. What an fsGroup did to mode and group is no difference (widened.py). docs/how-it-works.md has every row.
"""

from typing import Iterable, Iterator, NamedTuple, Optional, Tuple

from ..fs.accounts import Accounts
from ..fs.node import ParentDir
from ..tree.compare import Entry, from_tree, same, side_by_side
from ..tree.manifest import MTIME
from .base import Base
from .widened import unwidened

NEW_SUFFIX = b".cm_persist-new"  # of the image's version next to a touched file
LONGEST_NAME = 255  # bytes of a file's name
SIZE = 4  # index of the field in a manifest's line
ADD, CHANGE, REPLACE, REMOVE = "add", "change", "replace", "remove"
KEEP_BOTH, PART, KEEP_OWN = "keep both", "part", "keep own"


class Action(NamedTuple):
    """What happens at a path (relative to the top).

    ADD: the store has nothing there. CHANGE: a file is replaced, a directory gets its owner and mode. REPLACE: a file becomes a
    directory. REMOVE. KEEP_BOTH: the image's version goes next to the store's. PART: of what goes next to it. KEEP_OWN: the
    store's stays, and the image's version cannot go next to it.
    before: size and mtime of the file in base, as a manifest has them; None if that is no file.
    """

    what: str
    path: bytes
    is_directory: bool
    before: Optional[Tuple[bytes, bytes]] = None


class Tally(NamedTuple):
    """What a merge does, in files.

    beside: kept with the image's version next to it; alone: kept, and the image's version could not go next to it; names: the
    first of these two kinds.
    """

    changed: int = 0
    added: int = 0
    removed: int = 0
    beside: int = 0
    alone: int = 0
    names: Tuple[bytes, ...] = ()


def decide(base: Base, store: Iterable[Entry], new: Iterable[Entry]) -> Iterator[Action]:
    """What happens to each file: a directory comes before its content."""
    decided, both = None, False  # the top of a part that is decided as a whole, and whether it is kept next to the store's
    for old, own, image in side_by_side(base.entries, store, new):
        key = [entry.key for entry in (old, own, image) if entry is not None][0]
        if decided is not None and key[: len(decided)] == decided:
            if both and image is not None:
                yield Action(PART, image.path, image.is_directory)
            continue
        decided = None
        what, whole = _decide(old, unwidened(old, own), image, base.listed)
        if what == KEEP_BOTH and (not key or len(key[-1] + NEW_SUFFIX) > LONGEST_NAME):
            what = KEEP_OWN
        if whole:
            decided, both = key, what == KEEP_BOTH
        if what:
            entry = own if image is None else image
            before = None if old is None or old.is_directory else (old.fields[SIZE], old.fields[MTIME])
            yield Action(what, entry.path, entry.is_directory, before)


def _decide(old, own, image, listed):
    """An Action's what, or '', and whether it covers everything below."""
    if image is not None and own is None and old is not None:
        return "", True  # deleted, and so is everything that a new image has in it
    if same(old, image):
        return "", own is not None and image is not None and own.is_directory != image.is_directory
    if own is None:
        return ADD if image is not None else "", False
    # A file that got attributes or an ACL since has been touched as well: no list has those that it had.
    marked = not own.is_directory and own.marks - (image.marks if image is not None else frozenset())
    untouched = listed and same(old, own) and not marked
    if image is None:
        return REMOVE if untouched else "", False
    if own.is_directory != image.is_directory:
        return (REPLACE, False) if untouched and image.is_directory else (KEEP_BOTH, True)
    if same(own, image):
        return "", False
    if untouched:
        return CHANGE, False
    return ("" if own.is_directory else KEEP_BOTH), False


def hidden(base: Iterable[Entry], new: Iterable[Entry]) -> Iterator[bytes]:
    """The paths of files that an image has newer than when a path was seeded."""
    for old, image in side_by_side(base, new):
        if image is not None and not image.is_directory and not same(old, image):
            yield image.path


def newer(store: Iterable[Entry], new: Iterable[Entry]) -> Iterator[bytes]:
    """The paths of files that an image has and a store lacks, or has older; for a path of which nothing else is known."""
    for own, image in side_by_side(store, new):
        if image is None or image.is_directory or same(own, image):
            continue
        if own is None or int(own.fields[MTIME]) < int(image.fields[MTIME]):
            yield image.path


def tally(actions: Iterable[Action], most: int = 10) -> Tally:
    """The counts of actions; at most that many names."""
    count = dict.fromkeys((ADD, CHANGE, REPLACE, REMOVE, KEEP_BOTH, KEEP_OWN), 0)
    names = []
    for action in actions:
        if action.what in (KEEP_BOTH, KEEP_OWN) and len(names) < most:
            names.append(action.path)
        if action.what in (KEEP_BOTH, KEEP_OWN) or (action.what in count and not action.is_directory):
            count[action.what] += 1
    return Tally(count[CHANGE] + count[REPLACE], count[ADD], count[REMOVE], count[KEEP_BOTH], count[KEEP_OWN], tuple(names))


def actions_of(base: Base, tree: Tuple[int, bytes], parent: ParentDir, accounts: Tuple[Accounts, Accounts]) -> Iterator[Action]:
    """What happens to each file of a state path. base is the path as it was seeded or merged last; tree an open directory, and
    the name in it of the store's tree; accounts the names of the tree's owners, and of the image's."""
    return decide(base, from_tree(*tree, accounts[0]), from_tree(parent.fd, parent.name, accounts[1]))
