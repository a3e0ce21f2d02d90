# SPDX-License-Identifier: Apache-2.0
"""What becomes of each file when a new image meets an old volume. Three trees are read side by side, in the order of walk():
the image's as it was when the path was seeded (its manifest), the new image's, and the store's.

What nobody touched since follows the image; what was touched stays, with the image's version beside it; what was deleted stays
deleted. Owners are compared by their names: an image may number them anew.
"""

import os
from typing import NamedTuple, Optional, Tuple

from ..errors import StoreError, because
from ..fs.dirfd import open_regular
from ..store.layout import MANIFESTS
from ..tree.compare import from_manifest, from_tree, same, side_by_side
from ..tree.manifest import MTIME

BESIDE = b".cm_persist-new"
LONGEST_NAME = 255  # bytes of a file's name
SIZE = 4  # index of the field in a manifest's line
ADD, CHANGE, REPLACE, REMOVE, ASIDE, PART, HIDDEN = "add", "change", "replace", "remove", "beside", "part", "hidden"


class Action(NamedTuple):
    """What is to be done at a path (bytes, relative), what being

    ADD (the store has nothing there), CHANGE (a leaf is replaced, a directory gets its owner and mode), REPLACE (a leaf becomes a
    directory), REMOVE, ASIDE (the image's version goes beside the store's), PART (of what goes beside), HIDDEN (the store's
    stays, and the image's cannot go beside it). before are size and time, as a manifest has them, of what the image that was
    merged last has there; None where that is no leaf.
    """

    what: str
    path: bytes
    is_directory: bool
    before: Optional[Tuple[bytes, bytes]] = None


def decide(base, store, new):
    """Decide what becomes of each file.

    Args:
        base, store, new (iterable of Entry): the three trees.

    Yields:
        Action: a directory before what it holds.
    """
    held, parts = None, False  # the top of a part that is decided as a whole, and whether it goes beside
    for old, own, image in side_by_side(base, store, new):
        key = [entry.key for entry in (old, own, image) if entry is not None][0]
        if held is not None and key[: len(held)] == held:
            if parts and image is not None:
                yield Action(PART, image.path, image.is_directory)
            continue
        held = None
        action, whole = _decide(old, own, image)
        if whole:
            held, parts = key, action == ASIDE
        if action:
            entry = own if image is None else image
            if action == ASIDE and (not key or len(key[-1] + BESIDE) > LONGEST_NAME):
                action, parts = HIDDEN, False
            before = None if old is None or old.is_directory else (old.fields[SIZE], old.fields[MTIME])
            yield Action(action, entry.path, entry.is_directory, before)


def _decide(old, own, image):
    """tuple: (str or '', bool), an Action's what, and whether it covers all that lies below."""
    if image is not None and own is None and old is not None:
        return "", True  # deleted, and so is what a new image has in it
    if same(old, image):
        return "", own is not None and image is not None and own.is_directory != image.is_directory
    if own is None:
        return ADD if image is not None else "", False
    # What has got attributes or an ACL since has been touched as well; no list tells those that it had.
    untouched = same(old, own) and (own.is_directory or not own.marks - (image.marks if image is not None else frozenset()))
    if image is None:
        return REMOVE if untouched else "", False
    if own.is_directory != image.is_directory:
        return (REPLACE, False) if untouched and image.is_directory else (ASIDE, True)
    if same(own, image):
        return "", False
    if untouched:
        return CHANGE, False
    return ("" if own.is_directory else ASIDE), False


def hidden(base, new):
    """Yield the paths (bytes) of what an image has newer than when a path was seeded; base and new are iterables of Entry."""
    for old, image in side_by_side(base, new):
        if image is not None and not image.is_directory and not same(old, image):
            yield image.path


def is_unchanged(base, new):
    """bool: whether an image has what it had when a path was seeded; base and new are iterables of Entry."""
    return all(same(old, image) for old, image in side_by_side(base, new))


def newer(store, new):
    """Yield the paths (bytes) of what an image has and a store lacks, or has older; for a path of which nothing else is known."""
    for own, image in side_by_side(store, new):
        if image is None or image.is_directory or same(own, image):
            continue
        if own is None or int(own.fields[MTIME]) < int(image.fields[MTIME]):
            yield image.path


def removed(base, new):
    """Yield the paths (bytes) of what an image no longer has; base and new are iterables of Entry."""
    for old, image in side_by_side(base, new):
        if image is None and not old.is_directory:
            yield old.path


class Tally(NamedTuple):
    """What a merge does, in files: changed, added, removed; beside counts those whose image's version goes beside them; hidden
    those where it cannot. names are the first of these last two."""

    changed: int = 0
    added: int = 0
    removed: int = 0
    beside: int = 0
    hidden: int = 0
    names: Tuple[bytes, ...] = ()


def tally(actions, most=10):
    """Tally: of actions (iterable of Action)."""
    count = dict.fromkeys((ADD, CHANGE, REPLACE, REMOVE, ASIDE, HIDDEN), 0)
    names = []
    for action in actions:
        if action.what in (ASIDE, HIDDEN) and len(names) < most:
            names.append(action.path)
        if action.what in (ASIDE, HIDDEN) or (action.what in count and not action.is_directory):
            count[action.what] += 1
    return Tally(count[CHANGE] + count[REPLACE], count[ADD], count[REMOVE], count[ASIDE], count[HIDDEN], tuple(names))


def actions_of(store, spec, entry, image, accounts, tree=None):
    """What becomes of each file of a state path.

    Args:
        store (Store): open.
        spec (StatePath): the path.
        entry (dict): its entry in the record.
        image (ParentDir): of the state path.
        accounts (tuple of Accounts): of the store's owners, and of the image's.
        tree (tuple of int and bytes): an open directory and the name in it of the store's tree; None opens it.

    Yields:
        Action.
    """
    base = seeded_entries(store, entry)
    new = from_tree(image.fd, image.name, accounts[1])
    if tree is not None:
        yield from decide(base, from_tree(*tree, accounts[0]), new)
        return
    parent = store.open_parent(spec.relative)
    try:
        yield from decide(base, from_tree(parent, os.path.basename(spec.relative), accounts[0]), new)
    finally:
        os.close(parent)


def seeded_entries(store, entry):
    """Yield the Entry of each file of a state path as it was seeded; raises StoreError where its manifest is lost or broken."""
    path = os.path.join(store.state_path, os.fsdecode(MANIFESTS), entry["manifest"])
    try:
        fd = open_regular(path)
    except OSError as error:
        hint = "Restore it from a backup; without it nothing can be merged."
        raise StoreError(path, "the manifest cannot be opened: {}".format(because(error)), hint) from error
    with open(fd, "rb") as file:
        yield from from_manifest(file, path)
