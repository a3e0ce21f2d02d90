# SPDX-License-Identifier: Apache-2.0
"""Remove a tree, also where it has immutable files, and never what is mounted in it."""

import contextlib
import errno
import os
import stat

from ..errors import because
from . import syscalls
from .dirfd import OPEN_DIRECTORY, DirectoryStack, Opened, change_mode, list_names, lstat, same_mount


def remove_tree(parent_fd: int, name: bytes) -> None:
    """Remove a file, or a directory with all that it holds. It is no error if nothing is there."""
    found = lstat(name, parent_fd)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        _unlink(name, parent_fd, found)
        return
    with contextlib.closing(DirectoryStack(parent_fd)) as stack:
        _enter(name, stack)
        while stack.depth:
            directory, names = stack.note
            below = _unlink_up_to_a_directory(names, stack.fd)
            if below is not None:
                _enter(below, stack)
            else:
                stack.pop()
                os.rmdir(directory, dir_fd=stack.fd)


def _enter(name, stack):
    # O_PATH: before it can be read, its mode may have to change. A mount in it belongs to somebody else.
    with Opened(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack.fd)) as fd:
        if not same_mount(fd, stack.fd):
            raise OSError(errno.EBUSY, "something is mounted there", name)
    _clear_flags(name, stack.fd)
    stack.push(os.open(name, OPEN_DIRECTORY, dir_fd=stack.fd))
    stack.note = name, list_names(stack.fd)


def _unlink_up_to_a_directory(names, dir_fd):
    """Remove files from the end of the list on; the name of the first directory, None if there is none."""
    while names:
        name = names.pop()
        found = lstat(name, dir_fd)
        if stat.S_ISDIR(found.st_mode):
            return name
        _unlink(name, dir_fd, found)
    return None


def _unlink(name, dir_fd, found):
    try:
        os.unlink(name, dir_fd=dir_fd)
    except PermissionError:
        # chattr +i and +a forbid it; only regular files and directories have them.
        if not stat.S_ISREG(found.st_mode):
            raise
        _clear_flags(name, dir_fd, lambda: os.unlink(name, dir_fd=dir_fd))


def _clear_flags(name, dir_fd, then=None):
    if os.geteuid():
        change_mode(name, 0o700, dir_fd)  # root needs no permission to remove the content
    with Opened(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)) as fd:
        try:
            flags = syscalls.get_flags(fd)
            if flags & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND):
                syscalls.set_flags(fd, 0)
            if then is not None:
                then()
                if flags and os.fstat(fd).st_nlink:  # another name of the file is left, and may be somebody else's
                    syscalls.set_flags(fd, flags)
        except OSError as error:
            found = "the immutable flag cannot be cleared: {}".format(because(error))
            raise OSError(error.errno, found, os.fsdecode(name)) from error
