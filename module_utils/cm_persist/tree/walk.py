# SPDX-License-Identifier: Apache-2.0
"""Walk a tree by directory descriptors, in one fixed order: a directory before its content, names by their bytes."""

import contextlib
import errno
import os
import stat
from typing import Callable, FrozenSet, Iterator, NamedTuple, Optional, Tuple

from ..fs.dirfd import OPEN_DIRECTORY, DirectoryStack, list_names, lstat, open_quietly, same_mount

ENTER, LEAVE, LEAF, LEFT_OUT = "enter", "leave", "leaf", "left out"
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # removed or replaced since its directory was listed


class Visit(NamedTuple):
    """One event of a walk.

    event is ENTER or LEAVE for a directory, LEAF for everything else, and LEFT_OUT (without a status) for a path that
    walk_steadily() does not read. path is relative to the top, which is b'.'; the entry is called name in the open directory
    dir_fd; status is its own (as it was at ENTER); fd is the open directory of ENTER and LEAVE, otherwise -1. The walk closes
    the descriptors: they are valid until its next event.
    """

    event: str
    path: bytes
    name: bytes
    dir_fd: int
    status: Optional[os.stat_result]
    fd: int

    @property
    def key(self) -> Tuple[bytes, ...]:
        """The components of the path."""
        return () if self.path == b"." else tuple(self.path.split(b"/"))

    @property
    def is_directory(self) -> bool:
        """True for a directory that the walk reads."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)


def walk(dir_fd: int, name: bytes) -> Iterator[Visit]:
    """Walk the tree with this name in an open directory; the top may be a file. ESTALE: an entry was replaced meanwhile."""
    stack = DirectoryStack(dir_fd)
    stack.note = None, iter([name])
    return _walk(stack, _visit)


def walk_steadily(top_fd: int, left_out: FrozenSet[bytes] = frozenset()) -> Iterator[Visit]:
    """Walk the content of an open directory while programs work in it: entries may come and go. Sockets have no visit.

    It reads neither the relative paths that are left_out, nor other mounts.
    """
    stack = DirectoryStack(top_fd)
    stack.note = Visit(ENTER, b".", b"", -1, os.fstat(top_fd), top_fd), iter(list_names(top_fd))
    return _walk(stack, lambda *entry: _visit_if_there(left_out, *entry))


def open_if_there(name: bytes, dir_fd: int, path: bytes) -> Optional[int]:
    """Open a directory for walk_steadily(); None if it is gone. path is for errors."""
    try:
        return open_quietly(name, OPEN_DIRECTORY, dir_fd)
    except OSError as error:
        if error.errno in GONE:
            return None
        error.filename = path
        raise


def path_in(directory: bytes, name: bytes) -> bytes:
    """The path of an entry of a directory. Both paths are relative to the top, which is b'.'; above the top, directory is b''."""
    if not directory:
        return b"."
    return name if directory == b"." else directory + b"/" + name


def directory_of(path: bytes, name: bytes) -> bytes:
    """The directory of an entry, so that path_in(directory_of(path, name), name) is path."""
    return b"" if path == b"." else path[: -len(name) - 1] or b"."


def _walk(stack: DirectoryStack, visit_of: Callable) -> Iterator[Visit]:
    # The note of a directory is its visit (None above the top), and the names that are still to be visited.
    with contextlib.closing(stack):
        while True:
            directory, names = stack.note
            above = directory.path if directory else b""
            for name in names:
                visit = visit_of(path_in(above, name), name, stack.fd, directory)
                if visit is None:
                    continue
                if visit.fd != -1:
                    stack.push(visit.fd)
                    yield visit
                    stack.note = visit, iter(list_names(visit.fd))
                    break
                yield visit
            else:
                if not stack.depth:
                    return
                yield directory._replace(event=LEAVE, dir_fd=-1, fd=stack.fd)
                stack.pop()


def _visit(path, name, dir_fd, _directory):
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            return Visit(LEAF, path, name, dir_fd, status, -1)
        fd = open_quietly(name, OPEN_DIRECTORY, dir_fd)
    except OSError as error:
        error.filename = path  # relative to the top, for the message
        raise
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) != (status.st_dev, status.st_ino):
        os.close(fd)
        raise OSError(errno.ESTALE, "replaced while it was read", path)
    return Visit(ENTER, path, name, dir_fd, status, fd)


def _visit_if_there(left_out, path, name, dir_fd, directory):
    if path in left_out:
        return Visit(LEFT_OUT, path, name, dir_fd, None, -1)
    status = lstat(name, dir_fd)
    if status is None or stat.S_ISSOCK(status.st_mode):
        return None
    if not stat.S_ISDIR(status.st_mode):
        return Visit(LEAF, path, name, dir_fd, status, -1)
    fd = open_if_there(name, dir_fd, path)
    if fd is None:
        return None
    # A subvolume of btrfs has a device number of its own too, and is not a mount.
    if status.st_dev != directory.status.st_dev and not same_mount(fd, dir_fd):
        os.close(fd)
        return Visit(LEFT_OUT, path, name, dir_fd, None, -1)
    return Visit(ENTER, path, name, dir_fd, status, fd)
