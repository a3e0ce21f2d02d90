# SPDX-License-Identifier: Apache-2.0
"""Trees that nobody thought of: a strategy for hypothesis, and how one is made on disk."""

import os
import stat
from typing import NamedTuple, Optional, Tuple

from hypothesis import strategies as st

from .specimen import LATER, change_flags
from .things import ACCESS, CAPABILITY, DEFAULT, FLAGS, SOON, UNIT, write

FILE, DIRECTORY, LINK, FIFO, CHARACTER, BLOCK, TWIN = KINDS = ("file", "directory", "link", "FIFO", "character", "block", "twin")
# What some of them have: an ACL, a capability, or flags, and only those flags that all the file systems hold.
SPECIAL = [None, None, None, "access", "default", "capability", "immutable", "append-only", "nodump", "noatime"]
NODES = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}


class Entry(NamedTuple):
    """One entry to be made; where says in which of the directories before it, or for a twin which earlier entry it is."""

    kind: str
    where: int
    name: bytes
    mode: int
    owner: Tuple[int, int]
    mtime_ns: int
    attributes: dict
    parts: list
    target: bytes
    flag: Optional[str]


def trees(most_ns=2 * SOON * 10**9):
    """Strategy: of lists of entries; most_ns is the latest time that the file systems hold."""
    names = _bytes(255).filter(lambda name: name not in (b".", b".."))
    number = st.integers(0, 2**32 - 2)
    data = st.one_of(st.just(UNIT), st.binary(min_size=1, max_size=64).map(lambda seed: seed.ljust(UNIT, b"\1")))
    tail = st.binary(max_size=5000).map(lambda seed: seed.replace(b"\0", b"\1"))
    return st.lists(
        st.builds(
            Entry,
            kind=st.sampled_from([FILE, FILE, DIRECTORY, DIRECTORY, LINK, TWIN, TWIN, FIFO, CHARACTER, BLOCK]),
            where=st.integers(0, 1000),
            name=names,
            mode=st.integers(0, 0o7777),
            owner=st.tuples(number, number),
            mtime_ns=st.integers((1 - SOON) * 10**9, most_ns),
            attributes=st.dictionaries(_bytes(40), st.binary(max_size=64), max_size=4),
            parts=st.tuples(st.lists(data, max_size=6), tail).map(lambda pair: [*pair[0], pair[1]]),
            target=_bytes(1000),
            flag=st.sampled_from(
                [None, None, None, "access", "default", "capability", *sorted(set(FLAGS) - {"sync", "dirsync"})]
            ),
        ),
        min_size=1,
        max_size=25,
    )


def _bytes(most):
    return st.binary(min_size=1, max_size=most).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"0"))


def make(top, entries):
    """Make a tree.

    Args:
        top (str): where; made.
        entries (list of Entry): what.
    """
    os.mkdir(top)
    directories, others, all_of_them = [os.open(top, os.O_RDONLY)], [], []
    try:
        for number, entry in enumerate(entries):
            above = b"/proc/self/fd/%d/" % directories[entry.where % len(directories)]
            path = above + entry.name
            if os.path.lexists(path):
                path = above + b"%d" % number + entry.name[:250]
            if entry.kind == TWIN and others:
                os.link(others[entry.where % len(others)], path, follow_symlinks=False)
                continue
            _make_one(path, entry)
            all_of_them.append((path, entry))
            if entry.kind == DIRECTORY:
                directories.append(os.open(path, os.O_RDONLY))
            else:
                others.append(path)
        for path, entry in all_of_them:
            os.utime(path, ns=(max(LATER, entry.mtime_ns + 1), entry.mtime_ns), follow_symlinks=False)
        os.utime(top, ns=(LATER, LATER))
        for path, entry in all_of_them:
            if entry.flag in FLAGS and entry.kind in (FILE, DIRECTORY):
                change_flags(path, FLAGS[entry.flag])
    finally:
        for fd in directories:
            os.close(fd)


def _make_one(path, entry):
    if entry.kind == DIRECTORY:
        os.mkdir(path)
    elif entry.kind == LINK:
        os.symlink(entry.target, path)
    elif entry.kind in NODES:
        os.mknod(path, NODES[entry.kind] | 0o600, os.makedev(1 + entry.where % 200, entry.where))
    else:
        write(path, *entry.parts)
    os.chown(path, *entry.owner, follow_symlinks=False)
    holder = b"user." if entry.kind in (FILE, DIRECTORY, TWIN) else b"trusted."
    for name, value in entry.attributes.items():
        os.setxattr(path, holder + name, value, follow_symlinks=False)
    if entry.kind != LINK:
        os.chmod(path, entry.mode)
        _special_attribute(path, entry)


def _special_attribute(path, entry):
    if entry.flag == "access":
        os.setxattr(path, "system.posix_acl_access", ACCESS)
    elif entry.flag == "default" and entry.kind == DIRECTORY:
        os.setxattr(path, "system.posix_acl_default", DEFAULT)
    elif entry.flag == "capability" and entry.kind == FILE:
        os.setxattr(path, "security.capability", CAPABILITY)
