# SPDX-License-Identifier: Apache-2.0
"""Two or three trees side by side."""

import itertools
import os
from urllib.parse import unquote_to_bytes

from ..errors import StoreError
from .manifest import CUT_SHORT, DIGEST, GROUP, MTIME, PATH, TARGET, USER, content_digest, is_rounded, line, listed, read_fields
from .metadata import NO_ATTRIBUTES
from .walk import walk

ACLS = ("system.posix_acl_access", "system.posix_acl_default")


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
    for visit in walk(dir_fd, name):
        if listed(visit):
            status = visit.status
            owner = users.get(status.st_uid, b"%d" % status.st_uid), groups.get(status.st_gid, b"%d" % status.st_gid)
            fields = line(visit).split(b" ")
            yield Entry(fields, visit.path, owner, lambda visit=visit: _digest(visit), lambda visit=visit: _marks(visit))


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


def some_of(paths, most):
    """tuple: (int, tuple of bytes), how many paths an iterable has, and the first of them, at most so many."""
    paths = iter(paths)
    first = tuple(itertools.islice(paths, most))
    return len(first) + sum(1 for _path in paths), first


def _marks(visit):
    try:
        names = os.listxattr(b"/proc/self/fd/%d/" % visit.dir_fd + visit.name, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_ATTRIBUTES:
            return frozenset()
        raise
    return frozenset(name for name in names if name.startswith("user.") or name in ACLS)


def _digest(visit):
    return content_digest(visit.name, visit.dir_fd, visit.status).encode("ascii")
