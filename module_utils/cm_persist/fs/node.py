# SPDX-License-Identifier: Apache-2.0
"""What exists at one name, without following a link there."""

import os
import stat
import sys
from typing import NamedTuple, Optional

from ..errors import AS_ROOT, PathError, because
from .dirfd import OPEN_DIRECTORY, Opened, lstat, open_quietly

NONE, DIRECTORY, FILE, LINK, OTHER = "none", "directory", "file", "symbolic link", "special file"


class Node(NamedTuple):
    """kind is NONE, DIRECTORY, FILE, LINK or OTHER; target is the text of a link; mtime is in nanoseconds.

    empty is True only for a directory that was found empty by looking inside.
    """

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
    def real(self) -> bool:
        """True for a directory or a regular file, which have content of their own."""
        return self.kind in (DIRECTORY, FILE)


def look(dir_fd: Optional[int], name: bytes, inside: bool = False) -> Node:
    """The node at a name in an open directory (None: that does not exist); with empty for a directory if it looks inside."""
    status = None if dir_fd is None else lstat(name, dir_fd)
    if status is None:
        return Node()
    kind = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}.get(stat.S_IFMT(status.st_mode), OTHER)
    target = os.fsdecode(os.readlink(name, dir_fd=dir_fd)) if kind == LINK else ""
    mode = stat.S_IMODE(status.st_mode)
    empty = inside and kind == DIRECTORY and _is_empty(name, dir_fd)
    return Node(kind, target, status.st_uid, status.st_gid, mode, status.st_ino, status.st_dev, empty, status.st_mtime_ns)


def _is_empty(name, dir_fd):
    with Opened(open_quietly(name, OPEN_DIRECTORY, dir_fd)) as fd:
        if sys.version_info < (3, 7):  # where scandir takes no descriptor
            return not os.listdir(fd)
        with os.scandir(fd) as names:  # which reads no more than it has to
            return next(names, None) is None


class ParentDir:
    """The open directory that holds a path of the running image (or machine). A context manager, which closes it.

    Its own path is trusted and may contain links (/var/run is one). fd is None if it does not exist.
    """

    def __init__(self, path: str):
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

    def look(self, name: Optional[bytes] = None) -> Node:
        """The node at the path, or at another name next to it."""
        try:
            return look(self.fd, name or self.name)
        except OSError as error:
            raise PathError(self.path, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error

    def look_inside(self) -> Node:
        """The node at the path, with empty for a directory."""
        try:
            return look(self.fd, self.name, inside=True)
        except OSError as error:
            raise PathError(self.path, "it cannot be looked into: {}".format(because(error)), AS_ROOT) from error
