# SPDX-License-Identifier: Apache-2.0
"""Remove a tree, flags and mounts minded."""

import errno
import os
import stat

from ..errors import because
from .dirfd import OPEN_DIRECTORY, DirectoryStack, change_mode, list_names, lstat, same_mount


def remove_tree(parent_fd, name):
    """Remove a file or a directory with all that it holds; nothing there is fine.

    Args:
        parent_fd (int): the directory that holds it.
        name (bytes): its name there.
    """
    found = lstat(name, parent_fd)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        _unlink(name, parent_fd, found)
        return
    stack = DirectoryStack(parent_fd)
    trail = []
    try:
        while True:
            if name is not None:
                _enter(name, stack)
                trail.append((name, list_names(stack.fd)))
                name = None
            directory, names = trail[-1]
            while names:
                child = names.pop()
                found = lstat(child, stack.fd)
                if stat.S_ISDIR(found.st_mode):
                    name = child
                    break
                _unlink(child, stack.fd, found)
            if name is None:
                trail.pop()
                stack.pop()
                os.rmdir(directory, dir_fd=stack.fd)
                if not trail:
                    return
    finally:
        stack.close()


def _enter(name, stack):
    # What is mounted there is not ours to remove. O_PATH: it may have to be made readable first.
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack.fd)
    try:
        if not same_mount(fd, stack.fd):
            raise OSError(errno.EBUSY, "something is mounted there", name)
    finally:
        os.close(fd)
    _clear_flags(name, stack.fd)
    stack.push(os.open(name, OPEN_DIRECTORY, dir_fd=stack.fd))


def _unlink(name, dir_fd, found):
    try:
        os.unlink(name, dir_fd=dir_fd)
    except PermissionError:
        # chattr +i and +a forbid it; only regular files and directories carry them.
        if not stat.S_ISREG(found.st_mode):
            raise
        _clear_flags(name, dir_fd, lambda: os.unlink(name, dir_fd=dir_fd))


def _clear_flags(name, dir_fd, then=None):
    from . import syscalls

    if os.geteuid():
        change_mode(name, 0o700, dir_fd)  # root needs no permission to remove what is there
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        flags = syscalls.get_flags(fd)
        if flags & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND):
            syscalls.set_flags(fd, 0)
        if then is not None:
            then()
            if flags and os.fstat(fd).st_nlink:  # another name of it is left, and may be somebody else's
                syscalls.set_flags(fd, flags)
    except OSError as error:
        raise OSError(
            error.errno, "the immutable flag cannot be cleared: {}".format(because(error)), os.fsdecode(name)
        ) from error
    finally:
        os.close(fd)
