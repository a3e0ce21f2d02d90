# SPDX-License-Identifier: Apache-2.0
"""What stands at one place, looked at without following a link at the place itself."""

import os
import re
import stat
import sys
from hashlib import sha256
from typing import NamedTuple

from ..errors import PathError, because
from .dirfd import lstat, make_directories, open_quietly

AS_ROOT = "Run as root (become: true)."
NONE, DIRECTORY, FILE, LINK, OTHER = "none", "directory", "file", "symbolic link", "special file"


class Place(NamedTuple):
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
        Place: what is there.
    """
    status = None if dir_fd is None else lstat(name, dir_fd)
    if status is None:
        return Place()
    kind = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}.get(stat.S_IFMT(status.st_mode), OTHER)
    target = os.fsdecode(os.readlink(name, dir_fd=dir_fd)) if kind == LINK else ""
    mode = stat.S_IMODE(status.st_mode)
    return Place(kind, target, status.st_uid, status.st_gid, mode, status.st_ino, status.st_dev, mtime=status.st_mtime_ns)


def look_inside(dir_fd, name):
    """Place: as look(), and says of a directory whether it is empty, without reading more of it than that takes."""
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


class ImageParent:
    """The directory of the running image (or machine) that holds a state path, open while it is worked on.

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
        """Place: what stands at the state path, or at another name (bytes) beside it."""
        try:
            return look(self.fd, name or self.name)
        except OSError as error:
            raise PathError(self.path, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error

    def look_inside(self):
        """Place: what stands at the state path, listed."""
        try:
            return look_inside(self.fd, self.name)
        except OSError as error:
            raise PathError(self.path, "it cannot be looked into: {}".format(because(error)), AS_ROOT) from error


def label(path):
    """str: a file name that stands for a state path, unlike any other's and easy to tell."""
    spelled = os.fsencode(path)
    readable = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.path.basename(spelled))[:64].decode("ascii")
    return "{}-{}".format(readable, sha256(spelled).hexdigest()[:12])


def make_parents(path, model):
    """Make the directories above a path that are missing, each durable with its owner and mode at once.

    Args:
        path (str): an absolute path.
        model (callable): takes the path (str) of a missing directory, gives its (uid, gid, mode).
    """
    directory = os.path.dirname(path)
    existing = directory
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    if existing == directory:
        return
    missing = os.fsencode(os.path.relpath(directory, existing))
    fd = os.open(existing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(make_directories(fd, missing, existing, lambda below: model(os.path.join(existing, os.fsdecode(below)))))
    finally:
        os.close(fd)
