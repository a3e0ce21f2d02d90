# SPDX-License-Identifier: Apache-2.0
"""All files in the store that have owners of the manager's, and which numbers these are."""

import errno
import os
import stat
import struct
from typing import Dict, Iterable, Iterator, Tuple

from ..fs.dirfd import Opened, lstat, open_directory
from ..paths import relative_of
from ..tree import metadata
from ..tree.walk import LEAVE, Visit, walk
from .layout import BACKUPS, STATE
from .owners import InUse

ACLS = ("system.posix_acl_access", "system.posix_acl_default")
ACL_ENTRY, ACL_USER, ACL_GROUP = struct.Struct("<HHI"), 0x02, 0x08  # linux/posix_acl_xattr.h
ACL_HEADER = 4  # bytes


def numbers_in_use(store, record: Dict[str, dict], others: Iterable[str]) -> InUse:
    """The numbers of the owners in an open store (Store): of the state paths in its record, and of others, spelled as there; none
    for one that the store does not have."""
    found, keys = InUse({}, {}), {*record, *others}

    def note(users, groups, path):
        for numbers, noted in zip((users, groups), found):
            for number in numbers:
                noted.setdefault(number, path)

    for key, entry in record.items():  # a volume plug-in may have given the top another owner, and it gets this one back
        note([entry["top"]["uid"]], [entry["top"]["gid"]], relative_of(key))
    for fd, path in directories_above(store, keys):
        status = os.fstat(fd)
        note([status.st_uid], [status.st_gid], path)
    for parent, name, top in trees(store, keys):
        for visit, path in nodes(parent, name, top):
            note([visit.status.st_uid], [visit.status.st_gid], path)
            for _name, value in acls(visit):
                entries = _entries(value)
                note(*([number for tag, _may, number in entries if tag == wanted] for wanted in (ACL_USER, ACL_GROUP)), path)
    return found


def directories_above(store, keys: Iterable[str]) -> Iterator[Tuple[int, bytes]]:
    """The directories of the store that lead to state paths, open until the next one, and their paths in the store."""
    names = [relative_of(key).split(b"/")[:-1] for key in keys]
    for path in sorted({b"/".join(each[: depth + 1]) for each in names for depth in range(len(each))}):
        try:
            directory = Opened(open_directory(store.fd, path, store.path))
        except FileNotFoundError:
            continue  # somebody removed it: another check reports that
        with directory as fd:
            yield fd, path


def trees(store, keys: Iterable[str]) -> Iterator[Tuple[int, bytes, bytes]]:
    """The trees at state paths and those that are kept: the directory that holds each, open until the next one, its name there,
    and its path in the store."""
    places = [(store.fd, relative_of(key), b"") for key in sorted(keys)]
    if store.state_fd is not None:
        places.append((store.state_fd, BACKUPS, os.fsencode(STATE) + b"/"))
    for top_fd, relative, above in places:
        try:
            directory = Opened(open_directory(top_fd, os.path.dirname(relative), store.path))
        except FileNotFoundError:
            continue  # as above
        name = os.path.basename(relative)
        with directory as parent:
            if lstat(name, parent) is not None:
                yield parent, name, above + relative


def nodes(parent: int, name: bytes, top: bytes) -> Iterator[Tuple[Visit, bytes]]:
    """Everything in a tree, once, with its path in the store; top is the tree's own."""
    for visit in walk(parent, name):
        if visit.event != LEAVE:
            yield visit, top if visit.path == b"." else top + b"/" + visit.path


def acls(visit: Visit) -> Iterator[Tuple[str, bytes]]:
    """The ACLs of what a walk visits: the attribute's name, and its value, b'' without it."""
    if not stat.S_ISLNK(visit.status.st_mode):
        for name in ACLS if stat.S_ISDIR(visit.status.st_mode) else ACLS[:1]:
            yield name, attribute(visit, name)


def changed_acl(value: bytes, users: Dict[int, int], groups: Dict[int, int]) -> bytes:
    """An ACL with other numbers: users and groups map old ones to new ones."""
    moved, entries = {ACL_USER: users, ACL_GROUP: groups}, _entries(value)
    changed = [ACL_ENTRY.pack(tag, may, moved.get(tag, {}).get(number, number)) for tag, may, number in entries]
    return value[:ACL_HEADER] + b"".join(changed) if entries else value


def attribute(visit: Visit, name: str) -> bytes:
    """An extended attribute of what a walk visits, b'' without it."""
    try:
        return os.getxattr(proc_path(visit), name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA or error.errno in metadata.NO_ATTRIBUTES:
            return b""
        raise


def proc_path(visit: Visit) -> bytes:
    """A path that leads to what a walk visits."""
    return b"/proc/self/fd/%d/" % visit.dir_fd + visit.name


def _entries(value):
    """Tag, permissions and number of each entry of an ACL, none if it is malformed."""
    return list(ACL_ENTRY.iter_unpack(value[ACL_HEADER:])) if len(value) % ACL_ENTRY.size == ACL_HEADER else []
