# SPDX-License-Identifier: Apache-2.0
"""Copy a tree or a single file with everything that belongs to it, into a private directory."""

import os
import stat
from typing import NamedTuple, Tuple

from . import inode, syscalls
from .directories import DIRECTORY, DirectoryStack, open_directory, open_quietly
from .errors import CopyError, because
from .filedata import FileData, changed
from .manifest import ManifestWriter
from .survey import below
from .walk import ENTER, LEAVE, walk

POOL = b"links"  # a further name of each file with several, so that none has to be found again by a long path
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Copied(NamedTuple):
    """What was copied: files counts all but directories, data is in bytes; sockets are the paths that were left out,

    unlabelled the attributes that the target's file system gives out itself and did not take.
    """

    files: int
    data: int
    sockets: Tuple[str, ...]
    unlabelled: Tuple[str, ...]


def copy_tree(dir_fd, name, path, private_fd, target, manifest_file):
    """Copy what stands at a name in a directory, and write its manifest.

    Args:
        dir_fd (int): the open directory that holds the source.
        name (bytes): the source's name there.
        path (str): the same for errors.
        private_fd (int): an open directory that nobody else writes to; it may hold only the manifest.
        target (bytes): the copy's name in it.
        manifest_file (binary file): takes the manifest.

    Returns:
        Copied: what was copied.

    Raises:
        CopyError: something could not be read, written, or copied with everything that belongs to it.
    """
    at = b"."
    try:
        os.mkdir(POOL, 0o700, dir_fd=private_fd)
        inode.drop_default_acl(private_fd)
        copier = _Copier(path, private_fd, target, ManifestWriter(manifest_file))
        try:
            for step in walk(dir_fd, name):
                at = step.path
                copier.take(step)
            return copier.finish()
        finally:
            copier.close()
    except OSError as error:
        raise CopyError(
            below(path, at),
            "copying it failed: {}".format(because(error)),
            "Nothing was published; mend the cause and start again.",
        ) from error


class _Copier:
    """Makes each entry of a walk again below a private directory."""

    def __init__(self, path, private_fd, target, manifest):
        self._path, self._private_fd, self._target, self._manifest = path, private_fd, target, manifest
        self._stack = DirectoryStack(private_fd)
        self._data = FileData()
        self._pool_fd = os.open(POOL, DIRECTORY, dir_fd=private_fd)
        self._pool = {}  # (device, inode) of a source with several names -> its name in the pool
        self._flags = []  # (relative path, flags): set last, as they forbid what comes before
        self._files = self._bytes = 0
        self._sockets = []
        self._unlabelled = set()

    def take(self, step):
        name = self._target if step.path == b"." else step.name
        if stat.S_ISSOCK(step.status.st_mode):
            # A socket is only a name for a running process; the next one makes its own.
            self._sockets.append(below(self._path, step.path))
            return
        self._manifest.add(step)
        if step.event == ENTER:
            os.mkdir(name, 0o700, dir_fd=self._stack.fd)
            self._stack.push(os.open(name, DIRECTORY, dir_fd=self._stack.fd))
        elif step.event == LEAVE:
            if os.fstat(step.fd).st_mtime_ns != step.status.st_mtime_ns:  # a name came or went
                raise changed(below(self._path, step.path))
            self._unlabelled |= inode.copy_metadata(step.fd, self._stack.fd, step.status, below(self._path, step.path))
            self._note_flags(step.fd, step.path)
            self._stack.pop()
        else:
            self._files += 1
            self._leaf(step, name)

    def finish(self):
        for number in range(len(self._pool)):
            os.unlink(b"%d" % number, dir_fd=self._pool_fd)
        os.rmdir(POOL, dir_fd=self._private_fd)
        for relative, flags in self._flags:  # noted at LEAVE: deepest first
            self._set_flags(relative, flags)
        self._manifest.finish()
        return Copied(self._files, self._bytes, tuple(self._sockets), tuple(sorted(self._unlabelled)))

    def close(self):
        self._stack.close()
        os.close(self._pool_fd)

    def _leaf(self, step, name):
        status, target_fd = step.status, self._stack.fd
        key = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        if key in self._pool:
            os.link(self._pool[key], name, src_dir_fd=self._pool_fd, dst_dir_fd=target_fd, follow_symlinks=False)
            return
        if stat.S_ISREG(status.st_mode):
            self._bytes += status.st_size
            self._regular(step, name)
        else:
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(step.name, dir_fd=step.dir_fd), name, dir_fd=target_fd)
            else:
                self._special(step, name)
            self._unlabelled |= inode.copy_metadata(
                _by_name(step.dir_fd, step.name), _by_name(target_fd, name), status, below(self._path, step.path)
            )
        if key is not None:
            self._pool[key] = b"%d" % len(self._pool)
            os.link(name, self._pool[key], src_dir_fd=target_fd, dst_dir_fd=self._pool_fd, follow_symlinks=False)

    def _regular(self, step, name):
        path = below(self._path, step.path)
        source = open_quietly(step.name, READ, step.dir_fd)
        try:
            found = os.fstat(source)
            if (found.st_dev, found.st_ino, found.st_mode) != (step.status.st_dev, step.status.st_ino, step.status.st_mode):
                raise changed(path)
            target = os.open(name, CREATE, 0o600, dir_fd=self._stack.fd)
            try:
                self._data.copy(source, target, step.status, path)
                self._unlabelled |= inode.copy_metadata(source, target, step.status, path)
            finally:
                os.close(target)
            self._note_flags(source, step.path)
        finally:
            os.close(source)

    def _special(self, step, name):
        mode = step.status.st_mode
        try:
            os.mknod(name, stat.S_IFMT(mode) | 0o600, step.status.st_rdev, dir_fd=self._stack.fd)
        except OSError as error:
            kind = "FIFO" if stat.S_ISFIFO(mode) else "device node"
            raise CopyError(
                below(self._path, step.path),
                "this {} cannot be made in the store: {}".format(kind, because(error)),
                "Run as root with the capability MKNOD, or remove it from the original.",
            ) from error

    def _note_flags(self, source, relative):
        flags = syscalls.get_flags(source)
        if flags:
            self._flags.append((relative, flags))

    def _set_flags(self, relative, flags):
        parent, _slash, name = (self._target + (b"" if relative == b"." else b"/" + relative)).rpartition(b"/")
        directory = open_directory(self._private_fd, parent, self._path)
        try:
            fd = os.open(name, READ | os.O_CLOEXEC, dir_fd=directory)
            try:
                inode.set_flags(fd, flags, below(self._path, relative))
            finally:
                os.close(fd)
        finally:
            os.close(directory)


def _by_name(dir_fd, name):
    # Extended attributes have no call that takes a directory and a name; /proc gives a path without a race.
    return b"/proc/self/fd/%d/" % dir_fd + name
