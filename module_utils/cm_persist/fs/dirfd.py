# SPDX-License-Identifier: Apache-2.0
"""Directories by descriptor: nothing here follows a symbolic link, so none that is planted can lead elsewhere.

Names and relative paths are bytes; a path of any length is taken one component at a time.
"""

import errno
import os
import stat

from ..errors import StoreError, printable

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_LEVELS = 64


class Opened:
    """Close a descriptor at the end of a with block, whose target is the descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int):
        self._fd = fd

    def __enter__(self):
        return self._fd

    def __exit__(self, *_unused):
        os.close(self._fd)


def lstat(name, dir_fd):
    """os.stat_result of a name in a directory, the link's own if it is one; None where there is nothing."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_quietly(name, flags, dir_fd):
    """Open without a trace in the access time where the kernel allows it: O_NOATIME is for the owner and root alone."""
    try:
        return os.open(name, flags | os.O_NOATIME | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=dir_fd)


def open_regular(name, dir_fd=None, largest=None):
    """Open a file for reading that should be an ordinary one of a usual size: others could block or never end.

    Args:
        name (bytes or str): its name in the directory, or a path.
        dir_fd (int): the open directory.
        largest (int): its size in bytes at most; None for any.

    Returns:
        int: the descriptor, the caller's to close.

    Raises:
        OSError: it cannot be opened, or is something else (EINVAL), or too large (EFBIG).
    """
    fd = open_quietly(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd)
    status = os.fstat(fd)
    number = 0 if stat.S_ISREG(status.st_mode) else errno.EINVAL
    if not number and largest is not None and status.st_size > largest:
        number = errno.EFBIG
    if number:
        os.close(fd)
        raise OSError(number, "no regular file of a usual size", name)
    return fd


def change_mode(name, mode, dir_fd=None):
    """Change the mode of what stands at a name, never of what a link there leads to: chmod(2) has no such flag."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        os.chmod("/proc/self/fd/{}".format(fd), mode)
    finally:
        os.close(fd)


def mount_id(fd):
    """int: the number of the mount that an open file lies on, as in mountinfo; None before Linux 3.15."""
    with open("/proc/self/fdinfo/{}".format(fd)) as info:
        return next((int(line.split()[1]) for line in info if line.startswith("mnt_id:")), None)


def same_mount(one, other):
    """bool: whether two open files lie on the same mount; where the kernel does not tell, on the same file system."""
    numbers = mount_id(one), mount_id(other)
    return numbers[0] == numbers[1] and (numbers[0] is not None or os.fstat(one).st_dev == os.fstat(other).st_dev)


def list_names(fd):
    """list of bytes: the names in an open directory, in byte order."""
    names = os.listdir(fd)
    for index, name in enumerate(names):  # in place: a directory may hold a million of them
        names[index] = os.fsencode(name)
    names.sort()
    return names


def list_kinds(fd):
    """Tell directories and files apart in an open directory, without a look at each where it says so itself.

    Args:
        fd (int): the open directory.

    Returns:
        tuple: (list of bytes, list of bytes), the names of directories and of regular files, in byte order.
    """
    directories, files, others = [], [], []
    if os.scandir in os.supports_fd:  # from Python 3.7 on
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(os.fsencode(entry.name))
                elif entry.is_file(follow_symlinks=False):
                    files.append(os.fsencode(entry.name))
                elif not entry.is_symlink():
                    others.append(os.fsencode(entry.name))
    else:
        others = list_names(fd)
    for name in others:
        status = lstat(name, fd)
        if status and stat.S_ISDIR(status.st_mode):
            directories.append(name)
        elif status and stat.S_ISREG(status.st_mode):
            files.append(name)
    return sorted(directories), sorted(files)


def open_directory(top_fd, relative, top):
    """Open a directory below another.

    Args:
        top_fd (int): the open directory above.
        relative (bytes): path below it; empty for the directory itself.
        top (str): the path of top_fd, for errors.

    Returns:
        int: a new descriptor, the caller's to close.

    Raises:
        StoreError: a component is no directory (a symbolic link counts as none).
        FileNotFoundError: a component is missing.
    """
    fd = os.open(".", OPEN_DIRECTORY, dir_fd=top_fd)
    for name in _components(relative):
        below = _open_component(fd, name, relative, top)
        os.close(fd)
        fd = below
    return fd


class DirectoryStack:
    """The open directories between a top and where a walk is now, with a bounded number of descriptors.

    Directories far above are closed and opened again through '..' on the way back, and must then be the same inode.
    """

    def __init__(self, fd):
        self._levels = [(fd, None)]

    @property
    def fd(self):
        """int: the directory where the walk is now."""
        return self._levels[-1][0]

    def push(self, fd):
        """Go down into an open directory, which then belongs to the stack."""
        self._levels.append((fd, None))
        if len(self._levels) > OPEN_LEVELS + 1:  # the first level is the caller's own
            far, _unused = self._levels[-OPEN_LEVELS]
            if far is not None:
                self._levels[-OPEN_LEVELS] = (None, os.fstat(far))
                os.close(far)

    def pop(self):
        """Go back up."""
        leaving, _unused = self._levels.pop()
        above, known = self._levels[-1]
        if above is None:
            above = os.open("..", OPEN_DIRECTORY, dir_fd=leaving)
            found = os.fstat(above)
            if (found.st_dev, found.st_ino) != (known.st_dev, known.st_ino):
                os.close(above)
                raise OSError(errno.ESTALE, "a directory was moved while it was read")
            self._levels[-1] = (above, None)
        os.close(leaving)

    def close(self):
        """Close all but the first directory."""
        for fd, _unused in self._levels[1:]:
            if fd is not None:
                os.close(fd)
        del self._levels[1:]


def _components(relative):
    names = [name for name in relative.split(b"/") if name not in (b"", b".")]
    if b".." in names:  # what is read from a volume may say so
        raise StoreError(printable(relative), "it leads out of the directory that it is in", "Find out who wrote it there.")
    return names


def _open_component(fd, name, relative, top):
    try:
        return os.open(name, OPEN_DIRECTORY, dir_fd=fd)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise StoreError(
                os.path.join(top, printable(relative)),
                "{} on the way is no directory".format(printable(name)),
                "Remove or rename what stands there; symbolic links are not followed.",
            ) from error
        raise
