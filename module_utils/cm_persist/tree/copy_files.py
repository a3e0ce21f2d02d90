# SPDX-License-Identifier: Apache-2.0
"""Copy what is not a directory, a batch at a time: the part of a copy that several processes may share.

Nothing is known but the two trees, so a batch can be done by whoever is free. What two of them may meet at, a file with
several names, is settled in the target itself: the first name in the pool wins.
"""

import os
import stat

from ..errors import CopyError, StoreError, Where, because
from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, open_directory, open_quietly
from . import metadata, progress
from .copy_data import FileData, changed
from .manifest import content_digest

POOL = b"links"  # a further name of each file with several, so that none has to be found again by a long path
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def traits(status):
    """tuple: what an os.stat_result tells of a file that differs once somebody changes or replaces it.

    Not the inode's number: where layers of an overlayfs lie on different file systems, a directory that the kernel forgets
    meanwhile comes back with another.
    """
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size  # of a directory CephFS says later what all of it has
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev, size, status.st_mtime_ns


def link_key(status):
    """bytes: the name in the pool of a file with several names; b'' for one with a single name."""
    return b"%x-%x" % (status.st_dev, status.st_ino) if status.st_nlink > 1 else b""


class Tree:
    """A source and its copy.

    Attributes:
        path (str): of the source, for errors.
        source_fd, target_fd (int): the open directories that hold the two.
        source, target (bytes): their names there.
    """

    def __init__(self, path, source_fd, source, target_fd, target):
        self.path, self.source_fd, self.source, self.target_fd, self.target = path, source_fd, source, target_fd, target

    def open(self, directory):
        """Open a directory of both.

        Args:
            directory (bytes): relative to the top, which is b'.'; b'' for what holds a top that is a file.

        Returns:
            tuple: two descriptors, the caller's to close.
        """
        below = b"/" + directory if directory else b""
        try:
            source = open_directory(self.source_fd, below and self.source + below, self.path)
        except StoreError as error:  # no directory any more
            raise changed(Where(self.path, directory)) from error
        try:
            target_path = os.readlink("/proc/self/fd/{}".format(self.target_fd))
            return source, open_directory(self.target_fd, below and self.target + below, target_path)
        except BaseException:
            os.close(source)
            raise


class LeafCopier:
    """Copies leaves of a tree whose directories are there."""

    def __init__(self, tree):
        self._tree, self._data = tree, FileData()
        self._pool_fd = os.open(POOL, OPEN_DIRECTORY, dir_fd=tree.target_fd)
        self._source_fd = self._target_fd = -1
        self._begin()

    def copy(self, batch):
        """Copy a batch.

        Args:
            batch (list of (bytes, list of (bytes, tuple, int, bytes))): of each directory, relative to the top, the leaves:
                name, traits, time of access in nanoseconds, and the key of a file with several names.

        Returns:
            tuple: bytes of data (int); attributes that the target did not take (list of str); relative paths (bytes) with
            their inode flags (int), which are to be set when nothing is made any more; and for each leaf the digest of its
            data (str), as a manifest has it.

        Raises:
            CopyError: something could not be read, written, or copied with everything that belongs to it.
        """
        self._begin()
        for directory, leaves in batch:
            at = directory
            try:
                self._source_fd, self._target_fd = self._tree.open(directory)
                try:
                    for name, known, atime, key in leaves:
                        at = directory + b"/" + name if directory not in (b"", b".") else name if directory else b"."
                        digest = self._leaf(name, name if directory else self._tree.target, known, atime, key, at)
                        self._digests.append(digest)
                        progress.add(1, 0)
                finally:
                    os.close(self._source_fd)
                    os.close(self._target_fd)
            except OSError as error:
                raise failed(self._tree.path, at, error) from error
        return self._bytes, list(self._unlabelled), self._flags, self._digests

    def close(self):
        """Close what is open."""
        os.close(self._pool_fd)

    def _begin(self):
        self._bytes, self._unlabelled, self._flags, self._digests = 0, set(), [], []

    def _leaf(self, name, target, known, atime, key, at):
        if key and self._is_in_pool(key, target):
            return content_digest(name, self._source_fd, os.stat(name, dir_fd=self._source_fd, follow_symlinks=False))
        size, digest = self._make(name, target, known, atime, at)
        try:
            if key:
                os.link(target, key, src_dir_fd=self._target_fd, dst_dir_fd=self._pool_fd, follow_symlinks=False)
            self._bytes += size
        except FileExistsError:  # another process came to another of its names at the same time
            os.unlink(target, dir_fd=self._target_fd)
            self._link_from_pool(key, target)
        return digest

    def _is_in_pool(self, key, target):
        """bool: whether another name of the same file was there already, and this one is now."""
        try:
            self._link_from_pool(key, target)
            return True
        except FileNotFoundError:
            return False

    def _link_from_pool(self, key, target):
        os.link(key, target, src_dir_fd=self._pool_fd, dst_dir_fd=self._target_fd, follow_symlinks=False)

    def _make(self, name, target, known, atime, at):
        """tuple: (int, str), bytes of data of the copy that was made, and their digest."""
        if stat.S_ISREG(known[0]):
            return self._regular(name, target, known, at)
        path = Where(self._tree.path, at)
        status = os.stat(name, dir_fd=self._source_fd, follow_symlinks=False)
        if traits(status) != known:
            raise changed(path)
        if stat.S_ISLNK(known[0]):
            _symlink(os.readlink(name, dir_fd=self._source_fd), target, self._target_fd)
        else:
            self._special(target, status, path)
        # Its time of access is from before the manifest read the link.
        places = _by_name(self._source_fd, name), _by_name(self._target_fd, target)
        self._unlabelled |= metadata.copy_metadata(*places, status, path, atime)
        return 0, ""

    def _regular(self, name, target, known, at):
        path = Where(self._tree.path, at)
        source = open_quietly(name, READ, self._source_fd)
        try:
            status = os.fstat(source)
            if traits(status) != known:
                raise changed(path)
            copy = os.open(target, CREATE, 0o600, dir_fd=self._target_fd)
            try:
                digest = self._data.copy(source, copy, status, path)
                self._unlabelled |= metadata.copy_metadata(source, copy, status, path)
            finally:
                os.close(copy)
            flags = syscalls.get_flags(source)
            if flags:
                self._flags.append((at, flags))
        finally:
            os.close(source)
        return status.st_size, digest

    def _special(self, target, status, path):
        try:
            os.mknod(target, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=self._target_fd)
        except OSError as error:
            kind = "FIFO" if stat.S_ISFIFO(status.st_mode) else "device node"
            raise CopyError(
                path,
                "this {} cannot be made on the volume: {}".format(kind, because(error)),
                "Run as root with the capability MKNOD, or remove it from the original.",
            ) from error


def failed(path, at, error):
    """CopyError: for an OSError met at a relative path (bytes) of a tree."""
    return CopyError(
        Where(path, at),
        "copying it failed: {}".format(because(error)),
        "Nothing was published; mend the cause and start again.",
    )


def _symlink(text, name, dir_fd):
    try:
        os.symlink(text, name, dir_fd=dir_fd)
    except OSError as error:
        error.filename = None  # Python gives the text, which is no place of ours
        raise


def _by_name(dir_fd, name):
    # Extended attributes have no call that takes a directory and a name; /proc gives a path without a race.
    return b"/proc/self/fd/%d/" % dir_fd + name
