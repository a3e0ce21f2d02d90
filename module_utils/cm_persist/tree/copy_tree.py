# SPDX-License-Identifier: Apache-2.0
"""Copy a tree or a single file with everything that belongs to it, into a private directory.

This process walks, makes the directories and writes the manifest; a crew copies the leaves. A directory is finished when
nothing is made in it any more: with owner, attributes, mode, and its times last.
"""

import collections
import os
import stat
from typing import NamedTuple, Tuple

from ..errors import Where, printable
from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, DirectoryStack, open_directory
from ..fs.rmtree import remove_tree
from . import metadata
from .copy_data import changed
from .copy_files import POOL, READ, LeafCopier, Tree, failed, link_key, traits
from .manifest import NOBODY, ManifestWriter, content_digest, line
from .walk import ENTER, LEAVE, walk
from .workers import Batcher, WorkerPool

MOST_LEFT = 1000  # directories that are not finished
LARGE = 1 << 20  # bytes of a file with several names that is never copied twice, not even for a moment


class Copied(NamedTuple):
    """What was copied: files counts all but directories, data is in bytes; sockets are the paths that were left out,

    unlabelled the attributes that the target's file system gives out itself and did not take; coarse_times says that
    it does not keep times to the nanosecond.
    """

    files: int
    data: int
    sockets: Tuple[str, ...]
    unlabelled: Tuple[str, ...]
    coarse_times: bool

    def warnings(self, path):
        """list of str: what the copy of a path (str) does not have, each as a sentence."""
        found = ["{}: a socket was not copied; its program makes a new one.".format(socket) for socket in self.sockets]
        if self.coarse_times:
            found.append("{}: the file system of its copy does not keep times to the nanosecond.".format(printable(path)))
        if self.unlabelled:
            labels = ", ".join(self.unlabelled)
            found.append("{}: the file system of its copy takes no {}; it holds its own.".format(printable(path), labels))
        return found


def copy_tree(dir_fd, name, path, private_fd, target, manifest_file, accounts=NOBODY, only=None):
    """Copy what stands at a name in a directory, and write its manifest.

    Args:
        dir_fd (int): the open directory that holds the source.
        name (bytes): the source's name there.
        path (str): the same for errors.
        private_fd (int): an open directory that nobody else writes to; it may hold only the manifest.
        target (bytes): the copy's name in it.
        manifest_file (binary file): takes the manifest.
        accounts (Accounts): names of owners, for the manifest.
        only (set of bytes): relative paths of what is to be copied besides all directories; the manifest lists the rest as well.

    Returns:
        Copied: what was copied.

    Raises:
        CopyError: something could not be read, written, or copied with everything that belongs to it.
    """
    at = b"."
    try:
        os.mkdir(POOL, 0o700, dir_fd=private_fd)
        metadata.drop_default_acl(private_fd)
        copier = _Copier(Tree(path, dir_fd, name, private_fd, target), ManifestWriter(manifest_file, accounts), only)
        try:
            for visit in walk(dir_fd, name):
                at = visit.path
                copier.take(visit)
            return copier.finish()
        finally:
            copier.close()
    except OSError as error:
        raise failed(path, at, error) from error


class _Copier:
    """Makes each entry of a walk again below a private directory."""

    def __init__(self, tree, manifest, only):
        self._tree, self._manifest, self._only = tree, manifest, only
        self._lines = (
            collections.deque()
        )  # (number of its batch or None, line, status, digest) of entries not yet in the manifest
        self._digests = {}  # number of a batch that is done -> the digests of its leaves that are not in the manifest
        self._stack = DirectoryStack(tree.target_fd)
        self._leaves = LeafCopier(tree)
        self._crew = WorkerPool(self._leaves.copy, self._note)
        self._batches = Batcher(self._crew)
        self._left = collections.deque()  # (number of the first batch that is not in it, relative path, status)
        self._large = {}  # key of a large file with several names -> number of the batch that has the first
        self._flags = []  # (relative path, flags): set last, as they forbid what comes before
        self._files = self._bytes = 0
        self._sockets = []
        self._unlabelled = set()
        self._coarse_times = not metadata.keeps_nanoseconds(tree.target_fd)

    def take(self, visit):
        status = visit.status
        if stat.S_ISSOCK(status.st_mode):
            # A socket is only a name for a running process; the next one makes its own.
            self._sockets.append(str(Where(self._tree.path, visit.path)))
            return
        if visit.event == ENTER:
            self._lines.append((None, line(visit), status, ""))
            name = self._tree.target if visit.path == b"." else visit.name
            os.mkdir(name, 0o700, dir_fd=self._stack.fd)
            self._stack.push(os.open(name, OPEN_DIRECTORY, dir_fd=self._stack.fd))
        elif visit.event == LEAVE:
            self._stack.pop()
            self._left.append((self._batches.next, visit.path, status))
            if len(self._left) > MOST_LEFT:  # all of them wait for one batch
                self._batches.submit()
                self._crew.wait_for(self._left[0][0] - 1)
            self._finish_directories()
        elif self._only is not None and visit.path not in self._only:
            self._lines.append((None, line(visit), status, content_digest(visit.name, visit.dir_fd, status)))
        else:
            self._files += 1
            key = link_key(status)
            if key and status.st_size >= LARGE:
                self._copy_once(key)
            leaf = visit.name, traits(status), status.st_atime_ns, key
            # It goes into the batch that is submitted next.
            self._lines.append((self._crew.submitted, line(visit), status, ""))
            self._batches.add(directory_of(visit.path, visit.name), leaf, status.st_size)

    def finish(self):
        self._batches.submit()
        self._crew.finish()
        self._finish_directories()
        self._write_lines()
        remove_tree(self._tree.target_fd, POOL)
        for relative, flags in self._flags:
            self._set_flags(relative, flags)
        self._manifest.finish()
        unlabelled = tuple(sorted(self._unlabelled))
        return Copied(self._files, self._bytes, tuple(self._sockets), unlabelled, self._coarse_times)

    def close(self):
        try:
            self._crew.close()
        finally:
            self._leaves.close()
            self._stack.close()

    def _copy_once(self, key):
        # Two processes at two names of one file would need its space twice for a moment, which nobody counted.
        if key in self._large:
            self._batches.submit()
            self._crew.wait_for(self._large[key])
        else:
            self._large[key] = self._crew.submitted

    def _note(self, number, result):
        data, unlabelled, flags, digests = result
        self._digests[number] = collections.deque(digests)
        self._write_lines()
        self._bytes += data
        self._unlabelled.update(unlabelled)
        self._flags.extend(flags)

    def _write_lines(self):
        # In the order of the walk, as far as all is known: the digests come with the batches, in any order.
        while self._lines:
            batch, text, status, digest = self._lines[0]
            if batch is not None:
                if batch not in self._digests:
                    return
                digest = self._digests[batch].popleft()
                if not self._digests[batch]:
                    del self._digests[batch]
            self._manifest.add_line(text, status, digest)
            self._lines.popleft()

    def _finish_directories(self):
        while self._left and self._left[0][0] <= self._crew.done:
            _number, relative, status = self._left.popleft()
            self._finish_directory(relative, status)

    def _finish_directory(self, relative, status):
        path = Where(self._tree.path, relative)
        source, target = self._tree.open(relative)
        try:
            if traits(os.fstat(source)) != traits(status):  # a name came or went
                raise changed(path)
            self._unlabelled |= metadata.copy_metadata(source, target, status, path)
            flags = syscalls.get_flags(source)
        finally:
            os.close(source)
            os.close(target)
        if flags:
            self._flags.append((relative, flags))

    def _set_flags(self, relative, flags):
        parent, _slash, name = (self._tree.target + (b"" if relative == b"." else b"/" + relative)).rpartition(b"/")
        directory = open_directory(self._tree.target_fd, parent, self._tree.path)
        try:
            fd = os.open(name, READ | os.O_CLOEXEC, dir_fd=directory)
            try:
                metadata.set_flags(fd, flags, Where(self._tree.path, relative))
            finally:
                os.close(fd)
        finally:
            os.close(directory)


def directory_of(path, name):
    """bytes: the directory of an entry of a walk, relative to the top, which is b'.'; b'' for the top itself."""
    return b"" if path == b"." else path[: -len(name) - 1] or b"."
