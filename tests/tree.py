# SPDX-License-Identifier: Apache-2.0
"""What a tree is, down to the last attribute, read by code that shares nothing with what it judges.

`read_tree()` is for comparing a copy with its source, `footprint()` for proving that nothing was touched.
"""

import array
import fcntl
import hashlib
import os
import platform
import stat
from typing import NamedTuple, Optional, Tuple

GETFLAGS = (0x40000000 if platform.machine().startswith("ppc") else 0x80000000) | 0x00086601
# Sync, immutable, append, nodump, noatime, dirsync: flags that a person sets. The others are the file system's own.
USER_FLAGS = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
ALIASES = {"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"}  # what xfs, and it alone, tells root of an ACL once more
WINDOW = 1 << 16  # bytes that are read at a time, where there is any data in them


class Entry(NamedTuple):
    """One name in a tree. twins are all its names in the tree; holes the parts without blocks, as (start, end)."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    content: str = ""
    holes: Tuple[Tuple[int, int], ...] = ()
    target: bytes = b""
    device: int = 0
    attributes: Tuple[Tuple[str, bytes], ...] = ()
    flags: int = 0
    twins: Tuple[bytes, ...] = ()
    atime_ns: int = 0


def read_tree(path, atime=False):
    """Read a tree whole.

    Args:
        path (str): a directory or a file; paths below it may be of any length.
        atime (bool): tell the access times too. Reading here changes none but of symbolic links, for which there is no
            O_NOATIME: a mount with relatime leaves those alone that lie in the future.

    Returns:
        dict: relative path (bytes, b"" for the top) to its Entry.
    """
    entries, names = {}, {}
    for relative, name, dir_fd, status in _walk(path):
        entries[relative] = _entry(name, dir_fd, status)._replace(atime_ns=status.st_atime_ns if atime else 0)
        names.setdefault((status.st_dev, status.st_ino), []).append(relative)
    for same in names.values():
        if len(same) > 1:
            for relative in same:
                entries[relative] = entries[relative]._replace(twins=tuple(sorted(same)))
    return entries


def differences(one, other, ignore=()):
    """list of str: what differs between two trees, one line for each name and field; empty where they are the same."""
    found = ["{!r}: only in the first".format(name) for name in sorted(set(one) - set(other))]
    found += ["{!r}: only in the second".format(name) for name in sorted(set(other) - set(one))]
    for name in sorted(set(one) & set(other)):
        for field in Entry._fields:
            values = getattr(one[name], field), getattr(other[name], field)
            if field not in ignore and values[0] != values[1]:
                found.append("{!r}: {} is {!r} and {!r}".format(name, field, *values))
    return found


def assert_same(one, other, ignore=()):
    """Assert that two places hold the same tree, sockets left out, as nobody copies them."""
    trees = [{name: entry for name, entry in read_tree(path).items() if entry.kind != "socket"} for path in (one, other)]
    assert differences(*trees, ignore=ignore) == []


def footprint(*paths):
    """Everything that shows whether places were touched: inode numbers, mtime and ctime besides what read_tree() tells.

    Args:
        paths (str): places, which may be missing.

    Returns:
        dict: (path, relative path) to (Entry, inode, ctime_ns), or to None for a place that is missing.
    """
    found = {}
    for path in paths:
        if not os.path.lexists(path):
            found[path, b""] = None
            continue
        entries = read_tree(path)
        for relative, _name, _dir_fd, status in _walk(path):
            found[path, relative] = (entries[relative], status.st_ino, status.st_ctime_ns)
    return found


def _walk(path):
    """Yield (relative path, name, descriptor of its directory, status) for every name of a tree, children first."""
    parent = os.open(os.path.dirname(path.rstrip("/")) or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield from _walk_below(os.fsencode(os.path.basename(path.rstrip("/"))), parent, b"")
    finally:
        os.close(parent)


def _walk_below(name, dir_fd, relative):
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        fd = os.open(name, OPEN | os.O_DIRECTORY, dir_fd=dir_fd)
        try:
            for child in sorted(os.fsencode(child) for child in os.listdir(fd)):
                yield from _walk_below(child, fd, relative + b"/" + child if relative else child)
        finally:
            os.close(fd)
    yield relative, name, dir_fd, status


def _entry(name, dir_fd, status):
    mode = status.st_mode
    common = (stat.S_IMODE(mode), status.st_uid, status.st_gid, status.st_mtime_ns)
    known = {"attributes": _attributes(name, dir_fd, status.st_dev)}
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        fd = os.open(name, OPEN, dir_fd=dir_fd)
        try:
            known["flags"] = _flags(fd)
            if stat.S_ISREG(mode):
                size, holes = status.st_size, _holes(fd, status.st_size)
                known.update(size=size, content=_digest(fd, holes, size), holes=holes)
        finally:
            os.close(fd)
    elif stat.S_ISLNK(mode):
        known["target"] = os.readlink(name, dir_fd=dir_fd)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        known["device"] = status.st_rdev
    return Entry(_kind(mode), *common, **known)


def _kind(mode):
    kinds = {
        stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device",
    }  # fmt: skip
    return kinds[stat.S_IFMT(mode)]


def _attributes(name, dir_fd, device):
    path = b"/proc/self/fd/%d/" % dir_fd + name
    names = sorted(os.listxattr(path, follow_symlinks=False))
    if not ALIASES.isdisjoint(names) and _type_of(device) == "xfs":
        names = [key for key in names if key not in ALIASES]
    return tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in names)


def _type_of(device):
    wanted = "{}:{}".format(os.major(device), os.minor(device))
    with open("/proc/self/mountinfo") as lines:
        return next(line.split(" - ")[1].split(" ")[0] for line in lines if line.split(" ")[2] == wanted)


def _flags(fd):
    value = array.array("i", [0])
    try:
        fcntl.ioctl(fd, GETFLAGS, value)
    except OSError:  # a file system without flags: tmpfs of older kernels, for one
        return 0
    return value[0] & USER_FLAGS


def _digest(fd, holes, size):
    """Of where the bytes are that are not zero, and of them: the same for a hole as for written zeros, and soon told."""
    digest = hashlib.sha256()
    for window in _windows(holes, size):
        data = os.pread(fd, WINDOW, window * WINDOW)
        if data.strip(b"\0"):
            digest.update(b"%d:%b" % (window, data))
    return digest.hexdigest()


def _windows(holes, size):
    """Yield the number of each window that is not all hole, in ascending order."""
    done = -1
    for start, end in zip([0, *(end for _start, end in holes)], [*(start for start, _end in holes), size]):
        if start < end:
            for window in range(max(done + 1, start // WINDOW), (end - 1) // WINDOW + 1):
                yield window
                done = window


def _holes(fd, size):
    holes, start = [], 0
    while start < size:
        hole = os.lseek(fd, start, os.SEEK_HOLE)
        if hole >= size:
            break
        start = _next_data(fd, hole) or size
        holes.append((hole, start))
    return tuple(holes)


def _next_data(fd, start) -> Optional[int]:
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError:  # ENXIO: nothing but a hole up to the end
        return None
