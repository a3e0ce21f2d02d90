# SPDX-License-Identifier: Apache-2.0
"""What becomes of each file when a new image meets an old volume. Three trees are read side by side, in the order of walk():
the image's as it was when the path was seeded (its manifest), the new image's, and the store's.

What nobody touched since follows the image; what was touched stays, with the image's version beside it; what was deleted stays
deleted. Owners are compared by their names: an image may number them anew.
"""

import itertools
import os
from typing import NamedTuple, Optional, Tuple
from urllib.parse import unquote_to_bytes

from ..errors import StoreError
from ..tree.manifest import (
    CUT_SHORT,
    DIGEST,
    GROUP,
    MTIME,
    PATH,
    TARGET,
    USER,
    content_digest,
    is_rounded,
    line,
    listed,
    read_fields,
)
from ..tree.metadata import NO_ATTRIBUTES
from ..tree.walk import walk

BESIDE = b".cm_persist-new"
LONGEST_NAME = 255  # bytes of a file's name
SIZE = 4  # index of the field in a manifest's line
ACLS = ("system.posix_acl_access", "system.posix_acl_default")
ADD, CHANGE, REPLACE, REMOVE, ASIDE, PART, HIDDEN = "add", "change", "replace", "remove", "beside", "part", "hidden"


class Entry:
    """One file of a tree.

    Attributes:
        key (tuple of bytes): its path's components; entries come in the order of their keys.
        path (bytes): the same, joined; b'.' for the top.
        fields (list of bytes): of its line in a manifest.
        owner (tuple of bytes): names of user and group, numbers where they have none.
    """

    __slots__ = ("_digest", "_marks", "fields", "key", "owner", "path")

    def __init__(self, fields, path, owner, digest, marks=frozenset):
        self.fields, self.path, self.owner, self._digest, self._marks = fields, path, owner, digest, marks
        self.key = () if path == b"." else tuple(path.split(b"/"))

    @property
    def is_directory(self):
        """bool: whether others may lie below it."""
        return self.fields[0] == b"d"

    @property
    def digest(self):
        """bytes: of its content, b'' for none. Of a tree that is walked it can be had until the next entry is."""
        if callable(self._digest):
            self._digest = self._digest()
        return self._digest

    @property
    def marks(self):
        """frozenset of str: names of attributes and ACLs that a person or a program gives a file; of a manifest none are known.
        As digest, it can be had until the next entry is."""
        return self._marks()


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


def from_manifest(file, path, within=b"", accounts=None):
    """Read a tree from a manifest.

    Args:
        file (binary file): open at its start.
        path (str): the same for errors.
        within (bytes): what part of it, as read_fields() takes it.
        accounts (Accounts): of an image's own, whose lines of owners may lie before that part.

    Yields:
        Entry.

    Raises:
        StoreError: it is cut short.
    """
    owners = {}
    for kind, numbers in ((USER, accounts.users), (GROUP, accounts.groups)) if accounts else ():
        owners.update({(kind, b"%d" % number): os.fsencode(name) for name, number in reversed(list(numbers.items()))})
    for fields in read_fields(file, within, owners):
        if fields[0] == CUT_SHORT[0]:
            raise StoreError(path, "the manifest is cut short", "Restore it from a backup; without it nothing can be merged.")
        owner = owners.get((USER, fields[2]), fields[2]), owners.get((GROUP, fields[3]), fields[3])
        yield Entry(fields[:DIGEST], unquote_to_bytes(fields[PATH]), owner, fields[DIGEST])


def from_tree(dir_fd, name, accounts):
    """Read a tree from the disk.

    Args:
        dir_fd (int): the open directory that holds it.
        name (bytes): its name there.
        accounts (Accounts): names of its owners.

    Yields:
        Entry.
    """
    users, groups = ({number: os.fsencode(name) for name, number in reversed(list(each.items()))} for each in accounts)
    for step in walk(dir_fd, name):
        if listed(step):
            status = step.status
            owner = users.get(status.st_uid, b"%d" % status.st_uid), groups.get(status.st_gid, b"%d" % status.st_gid)
            fields = line(step).split(b" ")
            yield Entry(fields, step.path, owner, lambda step=step: _digest(step), lambda step=step: _marks(step))


def same(one, other):
    """bool: whether two entries (or None) are the same file. Without digests, of large ones, the time of change decides."""
    if one is None or other is None:
        return one is other
    if one.fields[:2] != other.fields[:2] or one.owner != other.owner:
        return False
    if one.is_directory:
        return True  # its time is that of the last name that came or went
    if one.fields[4] != other.fields[4] or one.fields[TARGET] != other.fields[TARGET]:
        return False
    if one.fields[0] != b"f" or one.fields[4] == b"0":
        return True
    if one.digest and other.digest:  # before the times, which a build may set to one and the same
        return one.digest == other.digest
    return (
        one.fields[MTIME] == other.fields[MTIME]
        or is_rounded(one.fields[MTIME], other.fields[MTIME])
        or is_rounded(other.fields[MTIME], one.fields[MTIME])
    )


def side_by_side(*trees):
    """Yield tuples of the entries at one path, None for a tree that has none there; trees are iterables of Entry."""
    trees = [iter(tree) for tree in trees]
    heads = [next(tree, None) for tree in trees]
    while any(head is not None for head in heads):
        key = min(head.key for head in heads if head is not None)
        row = [head if head is not None and head.key == key else None for head in heads]
        yield tuple(row)
        heads = [next(tree, None) if entry is not None else head for tree, entry, head in zip(trees, row, heads)]


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


def some_of(paths, most):
    """tuple: (int, tuple of bytes), how many paths an iterable has, and the first of them, at most so many."""
    paths = iter(paths)
    first = tuple(itertools.islice(paths, most))
    return len(first) + sum(1 for _path in paths), first


def _marks(step):
    try:
        names = os.listxattr(b"/proc/self/fd/%d/" % step.dir_fd + step.name, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_ATTRIBUTES:
            return frozenset()
        raise
    return frozenset(name for name in names if name.startswith("user.") or name in ACLS)


def _digest(step):
    return content_digest(step.name, step.dir_fd, step.status).encode("ascii")
