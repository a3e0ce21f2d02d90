# SPDX-License-Identifier: Apache-2.0
"""Copy everything but directories, a batch at a time: the part of a copy that several processes share.

A batch needs nothing but the two trees, so any process can copy it. Two processes may come to two names of one file at the same
time. The directory LINKS in the target decides: the file that first has a name there is the one that all names lead to.
"""

import contextlib
import os
import stat
from typing import Iterator, List, NamedTuple, Tuple

from ..errors import CopyError, StoreError, Where, because
from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, Opened, open_directory, open_quietly
from . import metadata, progress
from .copy_data import FileData, changed
from .manifest import content_digest
from .walk import path_in

LINKS = b"links"  # holds one more link of each file with several names: its later names become links to that one
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Source(NamedTuple):
    """The tree to copy: its name in an open directory, and its path for errors."""

    dir_fd: int
    name: bytes
    path: str


class Target(NamedTuple):
    """The copy: its name in an open directory that nobody else writes to."""

    dir_fd: int
    name: bytes


class Leaf(NamedTuple):
    """An entry to copy: its traits(), its access time from before anybody read it, and its link_key()."""

    name: bytes
    traits: tuple
    atime_ns: int
    link_key: bytes


def traits(status: os.stat_result) -> tuple:
    """The part of a file's status that differs once somebody changes or replaces the file.

    Without the inode number: if the layers of an overlayfs are on different file systems, a directory that the kernel forgets
    meanwhile comes back with another one.
    """
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size  # CephFS updates the size of a directory late
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev, size, status.st_mtime_ns


def link_key(status: os.stat_result) -> bytes:
    """The name in LINKS of a file with several names; b'' for one with a single name."""
    return b"%x-%x" % (status.st_dev, status.st_ino) if status.st_nlink > 1 else b""


@contextlib.contextmanager
def both_opened(source: Source, target: Target, directory: bytes) -> Iterator[Tuple[int, int]]:
    """Open a directory of both trees, relative to the top, which is b'.'; b'' is the directory above."""
    below = b"/" + directory if directory else b""
    try:
        source_fd = open_directory(source.dir_fd, below and source.name + below, source.path)
    except StoreError as error:  # it is no longer a directory
        raise changed(Where(source.path, directory)) from error
    with Opened(source_fd):
        target_path = os.readlink("/proc/self/fd/{}".format(target.dir_fd))
        with Opened(open_directory(target.dir_fd, below and target.name + below, target_path)) as target_fd:
            yield source_fd, target_fd


def failed(path: str, relative: bytes, error: OSError) -> CopyError:
    """The error for an OSError at an entry of a tree."""
    hint = "The copy was not used: fix the cause, then start again."
    return CopyError(Where(path, relative), "copying it failed: {}".format(because(error)), hint)


class LeafCopier:
    """Copies leaves of a tree whose directories exist in the target."""

    def __init__(self, source: Source, target: Target):
        self._source, self._target, self._data = source, target, FileData()
        self._links_fd = os.open(LINKS, OPEN_DIRECTORY, dir_fd=target.dir_fd)
        self._source_fd = self._target_fd = -1
        self._clear()

    def copy(self, batch: List[Tuple[bytes, List[tuple]]]) -> tuple:
        """Copy a batch: of each directory, relative to the top, the leaves, each as a tuple with the fields of a Leaf.

        Returns the bytes of data; a list of the attributes that the target did not take; a list of (relative path, inode flags)
        to set when nothing is added to the copy any more; and for each leaf the digest of its data, as in a manifest.
        """
        self._clear()
        for directory, leaves in batch:
            path = directory
            try:
                with both_opened(self._source, self._target, directory) as (self._source_fd, self._target_fd):
                    for leaf in map(Leaf._make, leaves):
                        path = path_in(directory, leaf.name)
                        self._digests.append(self._copy(leaf, leaf.name if directory else self._target.name, path))
                        progress.add(1, 0)
            except OSError as error:
                raise failed(self._source.path, path, error) from error
        return self._bytes, list(self._unlabelled), self._flags, self._digests

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self._links_fd)

    def _clear(self):
        self._bytes, self._unlabelled, self._flags, self._digests = 0, set(), [], []

    def _copy(self, leaf, target, path):
        key = leaf.link_key
        if key and self._is_linked(key, target):
            status = os.stat(leaf.name, dir_fd=self._source_fd, follow_symlinks=False)
            return content_digest(leaf.name, self._source_fd, status)
        make = self._make_file if stat.S_ISREG(leaf.traits[0]) else self._make_other
        size, digest = make(leaf, target, path)
        try:
            if key:
                os.link(target, key, src_dir_fd=self._target_fd, dst_dir_fd=self._links_fd, follow_symlinks=False)
            self._bytes += size
        except FileExistsError:  # another process came to another of its names at the same time
            os.unlink(target, dir_fd=self._target_fd)
            self._link(key, target)
        return digest

    def _is_linked(self, key, target):
        """Link the target to the copy of another name of its file; False if there is none yet."""
        try:
            self._link(key, target)
            return True
        except FileNotFoundError:
            return False

    def _link(self, key, target):
        os.link(key, target, src_dir_fd=self._links_fd, dst_dir_fd=self._target_fd, follow_symlinks=False)

    def _make_file(self, leaf, target, path):
        where = Where(self._source.path, path)
        with Opened(open_quietly(leaf.name, READ, self._source_fd)) as source_fd:
            status = os.fstat(source_fd)
            if traits(status) != leaf.traits:
                raise changed(where)
            with Opened(os.open(target, CREATE, 0o600, dir_fd=self._target_fd)) as copy_fd:
                digest = self._data.copy(source_fd, copy_fd, status, where)
                self._unlabelled |= metadata.copy_metadata(source_fd, copy_fd, status, where)
            flags = syscalls.get_flags(source_fd)
            if flags:
                self._flags.append((path, flags))
        return status.st_size, digest

    def _make_other(self, leaf, target, path):
        where = Where(self._source.path, path)
        status = os.stat(leaf.name, dir_fd=self._source_fd, follow_symlinks=False)
        if traits(status) != leaf.traits:
            raise changed(where)
        if stat.S_ISLNK(status.st_mode):
            _symlink(os.readlink(leaf.name, dir_fd=self._source_fd), target, self._target_fd)
        else:
            _mknod(target, self._target_fd, status, where)
        # Extended attributes have no call that takes a directory and a name; /proc gives a path without a race.
        source, copy = b"/proc/self/fd/%d/" % self._source_fd + leaf.name, b"/proc/self/fd/%d/" % self._target_fd + target
        # The access time is the one from before the manifest read the link.
        self._unlabelled |= metadata.copy_metadata(source, copy, status, where, leaf.atime_ns)
        return 0, ""


def _symlink(text, name, dir_fd):
    try:
        os.symlink(text, name, dir_fd=dir_fd)
    except OSError as error:
        error.filename = None  # Python gives the text of the link, which is not the name that failed
        raise


def _mknod(name, dir_fd, status, where):
    try:
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=dir_fd)
    except OSError as error:
        kind = "FIFO" if stat.S_ISFIFO(status.st_mode) else "device node"
        hint = "Run as root with the capability MKNOD, or remove it from the source."
        raise CopyError(where, "this {} cannot be made in the copy: {}".format(kind, because(error)), hint) from error
