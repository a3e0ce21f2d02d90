# SPDX-License-Identifier: Apache-2.0
"""Copy a tree or a single file with its data and all of its metadata, into a private directory, and write its manifest.

This process walks, makes the directories and writes the manifest; a pool of workers copies the leaves.
"""

import collections
import contextlib
import os
import stat
from typing import Callable, FrozenSet, List, NamedTuple, Optional, Tuple

from ..errors import Where, printable
from ..fs import syscalls
from ..fs.accounts import Accounts
from ..fs.dirfd import OPEN_DIRECTORY, DirectoryStack, Opened, open_directory
from ..fs.rmtree import remove_tree
from . import metadata
from .copy_data import changed
from .copy_files import LINKS, READ, Leaf, LeafCopier, Source, Target, both_opened, failed, link_key, traits
from .manifest import NOBODY, ManifestWriter, content_digest, line
from .walk import ENTER, LEAVE, directory_of, walk
from .workers import Batcher, WorkerPool

MOST_LEFT = 1000  # directories that are not finished
LARGE = 1 << 20  # bytes of a file with several names that is never copied twice, not even for a moment


class Copied(NamedTuple):
    """The result of a copy. files counts all but directories; data is in bytes.

    sockets are the paths that were left out. unlabelled are the attributes that the target's file system assigns itself and did
    not take. coarse_times is True if it does not keep times to the nanosecond.
    """

    files: int
    data: int
    sockets: Tuple[str, ...]
    unlabelled: Tuple[str, ...]
    coarse_times: bool

    def warnings(self, path: str) -> List[str]:
        """The differences between this path and its copy, each as a sentence."""
        found = ["{}: a socket was not copied; its program makes a new one.".format(socket) for socket in self.sockets]
        if self.coarse_times:
            found.append("{}: the file system of its copy does not keep times to the nanosecond.".format(printable(path)))
        if self.unlabelled:
            labels = ", ".join(self.unlabelled)
            found.append("{}: the file system of its copy takes no {}; it holds its own.".format(printable(path), labels))
        return found


def copy_tree(
    source: Source, target: Target, manifest_file, accounts: Accounts = NOBODY, only: Optional[FrozenSet[bytes]] = None
) -> Copied:
    """Copy a tree into a directory that is empty or has only the manifest, and write that to an open binary file.

    It is a CopyError if an entry cannot be read, written, or copied with all of its metadata. accounts has the names of owners
    for the manifest. only has relative paths of the leaves to copy, None for all; directories and lines are made of all.
    """
    path = b"."
    try:
        os.mkdir(LINKS, 0o700, dir_fd=target.dir_fd)
        metadata.drop_default_acl(target.dir_fd)
        with contextlib.ExitStack() as opened:
            copying = _Copying(source, target, ManifestWriter(manifest_file, accounts, of_copy=True), only, opened)
            for visit in walk(source.dir_fd, source.name):
                path = visit.path
                copying.take(visit)
            return copying.finish()
    except OSError as error:
        raise failed(source.path, path, error) from error


class _Copying:
    """Makes each entry of a walk again below a private directory; opened closes what it opens."""

    def __init__(self, source, target, manifest, only, opened):
        self._source, self._target, self._manifest, self._only = source, target, manifest, only
        self._lines = _Lines(manifest.add_line)
        self._stack = opened.enter_context(contextlib.closing(DirectoryStack(target.dir_fd)))
        leaves = opened.enter_context(contextlib.closing(LeafCopier(source, target)))
        self._pool = opened.enter_context(contextlib.closing(WorkerPool(leaves.copy, self._batch_done)))
        self._batches = Batcher(self._pool)
        self._left = collections.deque()  # (number of the first batch that has nothing of it, relative path, status)
        self._large = {}  # link key of a large file with several names -> number of the batch that has the first
        self._flags = []  # (relative path, flags): set last, as they forbid changes
        self._files = self._bytes = 0
        self._sockets = []
        self._unlabelled = set()
        self._coarse_times = not metadata.keeps_nanoseconds(target.dir_fd)

    def take(self, visit):
        if stat.S_ISSOCK(visit.status.st_mode):
            # A socket is only a name for a running process; the next one makes its own.
            self._sockets.append(str(Where(self._source.path, visit.path)))
        elif visit.event == ENTER:
            self._enter(visit)
        elif visit.event == LEAVE:
            self._leave(visit)
        elif self._only is not None and visit.path not in self._only:
            self._lines.add(visit, content_digest(visit.name, visit.dir_fd, visit.status))
        else:
            self._copy_later(visit)

    def finish(self):
        self._batches.submit()
        self._pool.finish()
        self._finish_directories()
        self._lines.write()
        remove_tree(self._target.dir_fd, LINKS)
        for relative, flags in self._flags:
            self._set_flags(relative, flags)
        self._manifest.finish()
        unlabelled = tuple(sorted(self._unlabelled))
        return Copied(self._files, self._bytes, tuple(self._sockets), unlabelled, self._coarse_times)

    def _enter(self, visit):
        self._lines.add(visit)
        name = self._target.name if visit.path == b"." else visit.name
        os.mkdir(name, 0o700, dir_fd=self._stack.fd)
        self._stack.push(os.open(name, OPEN_DIRECTORY, dir_fd=self._stack.fd))

    def _leave(self, visit):
        self._stack.pop()
        self._left.append((self._batches.next, visit.path, visit.status))
        if len(self._left) > MOST_LEFT:  # all of them wait for one batch
            self._batches.submit()
            self._pool.wait_for(self._left[0][0] - 1)
        self._finish_directories()

    def _copy_later(self, visit):
        self._files += 1
        status, key = visit.status, link_key(visit.status)
        if key and status.st_size >= LARGE:
            self._wait_for_first_name(key)
        self._lines.add_later(visit, self._pool.submitted)  # the number of the batch that is submitted next
        leaf = Leaf(visit.name, traits(status), status.st_atime_ns, key)
        self._batches.add(directory_of(visit.path, visit.name), tuple(leaf), status.st_size)

    def _wait_for_first_name(self, key):
        # Two processes at two names of one file would need its space twice for a moment, which was not counted.
        if key in self._large:
            self._batches.submit()
            self._pool.wait_for(self._large[key])
        else:
            self._large[key] = self._pool.submitted

    def _batch_done(self, number, result):
        data, unlabelled, flags, digests = result
        self._lines.batch_done(number, digests)
        self._bytes += data
        self._unlabelled.update(unlabelled)
        self._flags.extend(flags)

    def _finish_directories(self):
        while self._left and self._left[0][0] <= self._pool.done:
            _number, relative, status = self._left.popleft()
            self._finish_directory(relative, status)

    def _finish_directory(self, relative, status):
        where = Where(self._source.path, relative)
        with both_opened(self._source, self._target, relative) as (source, target):
            if traits(os.fstat(source)) != traits(status):  # a name was added or removed
                raise changed(where)
            self._unlabelled |= metadata.copy_metadata(source, target, status, where)
            flags = syscalls.get_flags(source)
        if flags:
            self._flags.append((relative, flags))

    def _set_flags(self, relative, flags):
        parent, _slash, name = (self._target.name + (b"" if relative == b"." else b"/" + relative)).rpartition(b"/")
        with Opened(open_directory(self._target.dir_fd, parent, self._source.path)) as directory, Opened(
            os.open(name, READ | os.O_CLOEXEC, dir_fd=directory)
        ) as fd:
            metadata.set_flags(fd, flags, Where(self._source.path, relative))


class _Lines:
    """Lines of a manifest in the order of the walk, though the digests come with the batches, in any order."""

    def __init__(self, write: Callable[[bytes, os.stat_result, str], None]):
        self._write = write
        self._waiting = collections.deque()  # [line, status of its entry, digest or None while its batch is not done]
        self._of_batch = collections.defaultdict(list)  # number of a batch that is not done -> those of its leaves

    def add(self, visit, digest=""):
        self._waiting.append([line(visit), visit.status, digest])

    def add_later(self, visit, batch):
        self.add(visit, None)
        self._of_batch[batch].append(self._waiting[-1])

    def batch_done(self, batch, digests):
        for waiting, digest in zip(self._of_batch.pop(batch), digests):
            waiting[-1] = digest
        self.write()

    def write(self):
        """Write lines up to the first whose digest is not known."""
        while self._waiting and self._waiting[0][-1] is not None:
            self._write(*self._waiting.popleft())
