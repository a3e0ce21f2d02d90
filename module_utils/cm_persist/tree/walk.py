# SPDX-License-Identifier: Apache-2.0
"""Walk a tree by directory descriptors, in one fixed order: a directory before its content, names by their bytes."""

import errno
import os
import stat
from typing import NamedTuple

from ..fs.dirfd import DirectoryStack, list_names, open_quietly

ENTER, LEAVE, LEAF = "enter", "leave", "leaf"


class Visit(NamedTuple):
    """One moment of a walk.

    event is ENTER or LEAVE for a directory, LEAF for all else; path (bytes) is relative to the top, which is b'.';
    name (bytes) and dir_fd tell where the entry hangs; status is its own os.stat_result (as it was at ENTER);
    fd is the open directory of ENTER and LEAVE, else -1. Descriptors are the walk's: valid until the next step.
    """

    event: str
    path: bytes
    name: bytes
    dir_fd: int
    status: os.stat_result
    fd: int


def walk(dir_fd, name):
    """Walk the tree that starts at a name in a directory.

    Args:
        dir_fd (int): the open directory that holds the top.
        name (bytes): the top's name in it; may be a directory or anything else.

    Yields:
        Visit: in the order that the module's first line tells.

    Raises:
        OSError: something cannot be read, or was replaced while it was read (ESTALE).
    """
    status = _status(name, dir_fd, b".")
    if not stat.S_ISDIR(status.st_mode):
        yield Visit(LEAF, b".", name, dir_fd, status, -1)
        return
    stack = DirectoryStack(dir_fd)
    trail = []
    path = b"."
    try:
        while True:
            if name is not None:  # down
                fd = _enter(name, stack.fd, status, path)
                above = stack.fd
                stack.push(fd)
                yield Visit(ENTER, path, name, above, status, fd)
                trail.append((path, name, status, iter(list_names(fd))))
                name = None
            path, own_name, own_status, names = trail[-1]
            for child in names:
                below = child if path == b"." else path + b"/" + child
                status = _status(child, stack.fd, below)
                if stat.S_ISDIR(status.st_mode):
                    name, path = child, below
                    break
                yield Visit(LEAF, below, child, stack.fd, status, -1)
            if name is None:  # up
                trail.pop()
                yield Visit(LEAVE, path, own_name, -1, own_status, stack.fd)
                stack.pop()
                if not trail:
                    return
    finally:
        stack.close()


def _status(name, dir_fd, path):
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        error.filename = path  # the whole of it, for whoever reads the message
        raise


def _enter(name, dir_fd, status, path):
    try:
        fd = open_quietly(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd)
    except OSError as error:
        error.filename = path
        raise
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) != (status.st_dev, status.st_ino):
        os.close(fd)
        raise OSError(errno.ESTALE, "replaced while it was read", path)
    return fd
