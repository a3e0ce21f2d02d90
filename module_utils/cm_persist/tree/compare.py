# SPDX-License-Identifier: Apache-2.0
"""Compare two or three trees, each from the disk or from a manifest, entry by entry."""

import errno
import itertools
import os
from typing import Iterable, Iterator, Optional, Tuple
from urllib.parse import unquote_to_bytes

from ..errors import StoreError
from ..fs.accounts import Accounts, by_number
from ..fs.dirfd import open_quietly
from .manifest import (
    CHANGED_AT,
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
from .metadata import NO_ATTRIBUTES
from .walk import walk

ACLS = ("system.posix_acl_access", "system.posix_acl_default")


class Entry:
    """One file or directory of a tree, with the fields of its line in a manifest (list of bytes) without the digest.

    path is relative to the top, which is b'.'; key has its components, and the entries of a tree are in the order of their keys.
    owner has the names of user and group (bytes), or their numbers if they have none.
    """

    __slots__ = ("_digest", "_visit", "fields", "key", "owner", "path")

    def __init__(self, fields, path, owner, digest=None, visit=None):
        self.fields, self.path, self.owner, self._digest, self._visit = fields, path, owner, digest, visit
        self.key = () if path == b"." else tuple(path.split(b"/"))

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return self.fields[0] == b"d"

    @property
    def digest(self) -> bytes:
        """The digest of its content, b'' if it has none. For a tree on the disk it is available until the next entry."""
        if self._digest is None:
            self._digest = content_digest(self._visit.name, self._visit.dir_fd, self._visit.status).encode("ascii")
        return self._digest

    def open(self, flags: int) -> int:
        """A descriptor of the file, for a tree on the disk; available as digest is. The caller closes it."""
        return open_quietly(self._visit.name, flags, self._visit.dir_fd)

    def attribute(self, name: str) -> bytes:
        """An extended attribute, b'' without it; available as open() is."""
        try:
            return os.getxattr(b"/proc/self/fd/%d/" % self._visit.dir_fd + self._visit.name, name, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENODATA, *NO_ATTRIBUTES):
                return b""
            raise

    def with_owner_and_mode(self, other: "Entry") -> "Entry":
        """The same file, with the owner and mode of another entry."""
        fields = [self.fields[0], *other.fields[1:4], *self.fields[4:]]
        return Entry(fields, self.path, other.owner, self._digest, self._visit)

    @property
    def marks(self) -> frozenset:
        """The names of attributes and ACLs that a person or a program has set, none for a manifest; available as digest is."""
        if self._visit is None:
            return frozenset()
        try:
            names = os.listxattr(b"/proc/self/fd/%d/" % self._visit.dir_fd + self._visit.name, follow_symlinks=False)
        except OSError as error:
            if error.errno in NO_ATTRIBUTES:
                return frozenset()
            raise
        return frozenset(name for name in names if name.startswith("user.") or name in ACLS)


def from_manifest(file, path: str, within: bytes = b"", accounts: Optional[Accounts] = None) -> Iterator[Entry]:
    """The tree in a manifest, read as by read_fields(); a StoreError at this path if it is cut short.

    accounts are for a part of an image's manifest, whose lines with the names of owners may be before that part.
    """
    owners = {}
    for kind, numbers in ((USER, accounts.users), (GROUP, accounts.groups)) if accounts else ():
        owners.update({(kind, b"%d" % number): name for number, name in by_number(numbers).items()})
    for fields in read_fields(file, within, owners):
        if fields[0] == CUT_SHORT[0]:
            raise StoreError(path, "the manifest is cut short", "Restore it from a backup; without it nothing can be merged.")
        owner = owners.get((USER, fields[2]), fields[2]), owners.get((GROUP, fields[3]), fields[3])
        digest = b"" if fields[DIGEST].startswith(CHANGED_AT) else fields[DIGEST]
        yield Entry(fields[:DIGEST], unquote_to_bytes(fields[PATH]), owner, digest)


def from_tree(dir_fd: int, name: bytes, accounts: Accounts) -> Iterator[Entry]:
    """Read the tree with this name in an open directory from the disk."""
    users, groups = map(by_number, accounts)
    for visit in walk(dir_fd, name):
        if listed(visit):
            status = visit.status
            owner = users.get(status.st_uid, b"%d" % status.st_uid), groups.get(status.st_gid, b"%d" % status.st_gid)
            yield Entry(line(visit).split(b" "), visit.path, owner, visit=visit)


def same(one: Optional[Entry], other: Optional[Entry]) -> bool:
    """True if two entries are equal. For large files, which have no digest, the time of the last change decides."""
    if one is None or other is None:
        return one is other
    if one.fields[:2] != other.fields[:2] or one.owner != other.owner:
        return False
    if one.is_directory:
        return True  # its time is that of the last name that was added or removed
    if one.fields[4] != other.fields[4] or one.fields[TARGET] != other.fields[TARGET]:
        return False
    if one.fields[0] != b"f" or one.fields[4] == b"0":
        return True
    return _same_content(one, other)


def _same_content(one, other):
    if one.digest and other.digest:  # before the times: a build may set those of all files to the same value
        return one.digest == other.digest
    times = one.fields[MTIME], other.fields[MTIME]
    return times[0] == times[1] or is_rounded(*times) or is_rounded(*reversed(times))


def side_by_side(*trees: Iterable[Entry]) -> Iterator[Tuple[Optional[Entry], ...]]:
    """The entries of all trees at each path that one of them has; None for a tree that does not have it."""
    trees = [iter(tree) for tree in trees]
    heads = [next(tree, None) for tree in trees]
    while any(head is not None for head in heads):
        key = min(head.key for head in heads if head is not None)
        row = [head if head is not None and head.key == key else None for head in heads]
        yield tuple(row)
        heads = [next(tree, None) if entry is not None else head for tree, entry, head in zip(trees, row, heads)]


def some_of(paths: Iterable[bytes], most: int) -> Tuple[int, Tuple[bytes, ...]]:
    """The number of paths, and the first of them."""
    paths = iter(paths)
    first = tuple(itertools.islice(paths, most))
    return len(first) + sum(1 for _path in paths), first
