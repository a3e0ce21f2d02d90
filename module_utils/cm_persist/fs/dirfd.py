# SPDX-License-Identifier: Apache-2.0
"""Directories by descriptor. A path may be longer than the kernel takes at a time: it is opened one component at a time."""

import errno
import os
import stat
from typing import Any, Callable, List, Optional, Tuple

from ..errors import StoreError, printable
from . import syscalls

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_LEVELS = 64


class Opened:
    """Close a descriptor at the end of a with block, whose target is the descriptor."""

    def __init__(self, fd: int):
        self._fd = fd

    def __enter__(self):
        return self._fd

    def __exit__(self, *_unused):
        os.close(self._fd)


def lstat(name: bytes, dir_fd: int) -> Optional[os.stat_result]:
    """The status of a name in a directory (of a link its own), or None if there is nothing."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_quietly(name: bytes, flags: int, dir_fd: Optional[int]) -> int:
    """Open without changing the access time where the kernel allows it: O_NOATIME is for the owner and root alone."""
    try:
        return os.open(name, flags | os.O_NOATIME | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=dir_fd)


def open_regular(name, dir_fd: Optional[int] = None, largest: Optional[int] = None) -> int:
    """Open a file for reading; the caller closes it. It must be a regular one (or EINVAL): others could block, or never end.

    name (bytes or str) is a name in the directory, or a path; a file of more bytes than largest is an error (EFBIG).
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


def change_mode(name: bytes, mode: int, dir_fd: Optional[int] = None) -> None:
    """Change the mode of a name, never of the target of a link there: chmod(2) has no flag for that."""
    with Opened(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)) as fd:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        os.chmod("/proc/self/fd/{}".format(fd), mode)


def sync_directory(path: str) -> None:
    """Write a directory to disk: the names that were added or removed."""
    with Opened(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        os.fsync(fd)


def is_fixed(name: bytes, dir_fd: int) -> bool:
    """True if a file or directory is itself immutable or append-only (chattr +i, +a)."""
    with Opened(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)) as fd:
        return bool(syscalls.get_flags(fd) & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND))


def mount_id(fd: int) -> Optional[int]:
    """The number of the mount that holds an open file, as in mountinfo; None before Linux 3.15."""
    with open("/proc/self/fdinfo/{}".format(fd)) as info:
        return next((int(line.split()[1]) for line in info if line.startswith("mnt_id:")), None)


def same_mount(one: int, other: int) -> bool:
    """True if two open files are on the same mount; where the kernel has no number for it, on the same file system."""
    numbers = mount_id(one), mount_id(other)
    return numbers[0] == numbers[1] and (numbers[0] is not None or os.fstat(one).st_dev == os.fstat(other).st_dev)


def list_names(fd: int) -> List[bytes]:
    """The names in an open directory, in byte order."""
    names = os.listdir(fd)
    for index, name in enumerate(names):  # in place: a directory may hold a million of them
        names[index] = os.fsencode(name)
    names.sort()
    return names


def list_kinds(fd: int) -> Tuple[List[bytes], List[bytes]]:
    """The names of directories and those of regular files in an open directory, in byte order.

    A name whose kind the directory itself has is not stat'ed.
    """
    directories, files, others = [], [], []
    if os.scandir in os.supports_fd:  # from Python 3.7 on
        with os.scandir(fd) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    is_dir, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
                    (directories if is_dir else files if is_file else others).append(os.fsencode(entry.name))
    else:
        others = list_names(fd)
    for name in others:
        status = lstat(name, fd)
        kind = stat.S_IFMT(status.st_mode) if status else 0
        if kind in (stat.S_IFDIR, stat.S_IFREG):
            (directories if kind == stat.S_IFDIR else files).append(name)
    return sorted(directories), sorted(files)


def open_directory(top_fd: int, relative: bytes, top: str, make: Optional[Callable[[int, bytes, bytes], None]] = None) -> int:
    """Open a directory by its path below another, empty for that one itself; the caller closes it. top is the path of top_fd.

    make() makes a missing directory on the way: in an open one, with this name, at this path below top_fd. It is a StoreError if
    a component is not a directory (a symbolic link counts as none).
    """
    names = [name for name in relative.split(b"/") if name not in (b"", b".")]
    if b".." in names:  # a note on a volume may contain it
        raise StoreError(printable(relative), "it leads out of the directory that it is in", "Find out who wrote it there.")
    fd = os.open(".", OPEN_DIRECTORY, dir_fd=top_fd)
    for count, name in enumerate(names, 1):
        if make is not None and lstat(name, fd) is None:
            make(fd, name, b"/".join(names[:count]))
        fd = _go_down(fd, name, relative, top)
    return fd


def _go_down(above, name, relative, top):
    with Opened(above):
        try:
            return os.open(name, OPEN_DIRECTORY, dir_fd=above)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            found = "{} on the way is no directory".format(printable(name))
            hint = "Remove or rename it; symbolic links are not followed."
            raise StoreError(os.path.join(top, printable(relative)), found, hint) from error


class DirectoryStack:
    """The open directories between a top and the current directory of a walk, with a bounded number of descriptors.

    Directories far above are closed and opened again through '..' on the way back, and must then be the same inode. Each
    directory has a note, in which the walk keeps what it still has to do there.
    """

    def __init__(self, fd: int):
        self._levels = [(fd, None)]
        self.note: Any = None  # of the current directory
        self._notes = []  # of those above

    @property
    def fd(self) -> int:
        """The current directory."""
        return self._levels[-1][0]

    @property
    def depth(self) -> int:
        """The number of directories between the first one and the current one, which counts."""
        return len(self._levels) - 1

    def push(self, fd: int) -> None:
        """Go down into an open directory, which then belongs to the stack."""
        self._levels.append((fd, None))
        self._notes.append(self.note)
        self.note = None
        if self.depth > OPEN_LEVELS:  # the first level is the caller's own
            far, _unused = self._levels[-OPEN_LEVELS]
            if far is not None:
                self._levels[-OPEN_LEVELS] = (None, os.fstat(far))
                os.close(far)

    def pop(self) -> None:
        """Go back up."""
        leaving, _unused = self._levels.pop()
        self.note = self._notes.pop()
        above, known = self._levels[-1]
        if above is None:
            above = os.open("..", OPEN_DIRECTORY, dir_fd=leaving)
            found = os.fstat(above)
            if (found.st_dev, found.st_ino) != (known.st_dev, known.st_ino):
                os.close(above)
                raise OSError(errno.ESTALE, "a directory was moved while it was read")
            self._levels[-1] = (above, None)
        os.close(leaving)

    def close(self) -> None:
        """Close all but the first directory."""
        for fd, _unused in self._levels[1:]:
            if fd is not None:
                os.close(fd)
        del self._levels[1:]
