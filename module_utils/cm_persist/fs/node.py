# SPDX-License-Identifier: Apache-2.0
"""What stands at one place, looked at without following a link at the place itself."""

import os
import stat
import sys
from typing import NamedTuple

from ..errors import AS_ROOT, PathError, because
from .dirfd import lstat, open_quietly

NONE, DIRECTORY, FILE, LINK, OTHER = "none", "directory", "file", "symbolic link", "special file"


class Node(NamedTuple):
    """kind is NONE, DIRECTORY, FILE, LINK or OTHER; target a link's text; empty is said of listed directories alone;
    mtime is in nanoseconds."""

    kind: str = NONE
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0
    inode: int = 0
    device: int = 0
    empty: bool = False
    mtime: int = 0

    @property
    def real(self):
        """bool: whether there is content of its own: a directory or a regular file."""
        return self.kind in (DIRECTORY, FILE)


def look(dir_fd, name):
    """Look at a name in an open directory.

    Args:
        dir_fd (int): the directory; None where it does not exist.
        name (bytes): the name.

    Returns:
        Node: what is there.
    """
    status = None if dir_fd is None else lstat(name, dir_fd)
    if status is None:
        return Node()
    kind = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}.get(stat.S_IFMT(status.st_mode), OTHER)
    target = os.fsdecode(os.readlink(name, dir_fd=dir_fd)) if kind == LINK else ""
    mode = stat.S_IMODE(status.st_mode)
    return Node(kind, target, status.st_uid, status.st_gid, mode, status.st_ino, status.st_dev, mtime=status.st_mtime_ns)


def look_inside(dir_fd, name):
    """Node: as look(), and says of a directory whether it is empty, without reading more of it than that takes."""
    place = look(dir_fd, name)
    if place.kind != DIRECTORY:
        return place
    fd = open_quietly(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd)
    try:
        return place._replace(empty=_is_empty(fd))
    finally:
        os.close(fd)


def _is_empty(fd):
    if sys.version_info < (3, 7):  # where scandir takes no descriptor
        return not os.listdir(fd)
    with os.scandir(fd) as names:
        return next(names, None) is None


class ParentDir:
    """The directory of the running image (or machine) that holds a path, open while a run works on it.

    Its own path is trusted and may lead over links (/var/run is one). fd is None where it does not exist.
    """

    def __init__(self, path):
        self.path, self.name = path, os.fsencode(os.path.basename(path))
        self.directory = os.path.dirname(path)
        try:
            self.fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.fd = None
        except NotADirectoryError as error:
            raise PathError(path, "{} is not a directory".format(self.directory), "Check the path for a mistake.") from error
        except OSError as error:
            raise PathError(path, "its directory cannot be opened: {}".format(because(error)), AS_ROOT) from error

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        if self.fd is not None:
            os.close(self.fd)

    def look(self, name=None):
        """Node: what is at the path, or at another name (bytes) next to it."""
        try:
            return look(self.fd, name or self.name)
        except OSError as error:
            raise PathError(self.path, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error

    def look_inside(self):
        """Node: what is at the path, and whether a directory there is empty."""
        try:
            return look_inside(self.fd, self.name)
        except OSError as error:
            raise PathError(self.path, "it cannot be looked into: {}".format(because(error)), AS_ROOT) from error
