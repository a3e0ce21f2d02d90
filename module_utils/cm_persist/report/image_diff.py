# SPDX-License-Identifier: Apache-2.0
"""Compare a file system with the list that was made with its image: both are read side by side, in the order of walk(), once.

Programs run meanwhile: what comes and goes is no error. Nothing is changed.
"""

import contextlib
import errno
import heapq
import os
import stat
from urllib.parse import unquote_to_bytes

from ..errors import AS_ROOT, PathError, because, printable
from ..fs.dirfd import lstat, open_regular
from ..fs.node import DIRECTORY, FILE, LINK, OTHER
from ..paths import inside
from ..tree.compare import Entry, side_by_side
from ..tree.manifest import CUT_SHORT, DIGEST, MTIME, PATH, TARGET, content_digest, is_rounded, line, read_fields
from ..tree.scan import HardLinks
from ..tree.walk import GONE, LEAVE, open_if_there, walk_steadily

ADDED, CHANGED, REMOVED = "added", "changed", "removed"
KINDS = {b"d": DIRECTORY, b"f": FILE, b"l": LINK}
OWNER_AND_MODE = 4  # fields of a line that count of a directory: type, mode, user, group
BUILD = "Build the image with container/build, or name the list in image_manifest."


@contextlib.contextmanager
def looking_at(path):
    """Turn an OSError that nothing closer to it expected into a PathError; path (str) is what is looked at."""
    try:
        yield
    except OSError as error:
        hint = AS_ROOT if error.errno in (errno.EACCES, errno.EPERM) else "Mend that, then look again."
        raise PathError(path, "it cannot be looked at: {}".format(because(error)), hint) from error


class Seen:
    """What is on the disk: path (bytes) is relative, key its components; status None says that it is left out, with all below."""

    __slots__ = ("dir_fd", "key", "name", "path", "status")

    def __init__(self, path, name=b"", dir_fd=-1, status=None):
        self.path, self.name, self.dir_fd, self.status = path, name, dir_fd, status
        self.key = tuple(path.split(b"/"))

    @property
    def is_directory(self):
        """bool: whether others may lie below it."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self):
        """bool: whether it is a symbolic link."""
        return self.status is not None and stat.S_ISLNK(self.status.st_mode)


class Change:
    """One entry of the result, which may stand for a whole directory: left_out says that there is something in it that stays."""

    __slots__ = ("bytes", "files", "kind", "left_out", "path", "what")

    def __init__(self, what, path, kind):
        self.what, self.path, self.kind = what, path, kind
        self.bytes, self.files, self.left_out = 0, 0, False

    @property
    def told(self):
        """bool: whether it is one; a directory that was made for a link or a mount alone is none."""
        return bool(self.what) and not (self.what == ADDED and self.left_out and not self.files)


class Comparison:
    """Of the file system with the list. root and store are paths (str), left_out relative ones (set of bytes)."""

    def __init__(self, root, store, left_out):
        self._root, self._store, self._left_out = root, os.path.realpath(store), left_out
        self._linked = HardLinks()
        self.totals = {ADDED: 0, CHANGED: 0, REMOVED: 0, "files": 0, "bytes": 0}

    def largest(self, listed, limit):
        """list of dict: the changes, the largest first, at most so many, 0 for all; listed (str) is the path of the list."""
        try:
            file = open(open_regular(listed), "rb")
        except FileNotFoundError:
            raise PathError(listed, "there is no list of what the image holds", BUILD) from None
        except OSError as error:
            raise PathError(listed, "the list of the image cannot be read: {}".format(because(error)), BUILD) from error
        with file, looking_at(self._root):
            top = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = self._counted(side_by_side(_seen_below(top, self._left_out), self._read(file, listed)))
                found = heapq.nsmallest(limit, found, _rank) if limit else sorted(found, key=_rank)
            finally:
                os.close(top)
        return [
            {"path": self._absolute(each.path), "what": each.what, "kind": each.kind, "bytes": each.bytes, "files": each.files}
            for each in found
        ]

    def _absolute(self, path):
        return printable(os.fsencode(self._root.rstrip("/")) + b"/" + path)

    def _read(self, file, listed):
        for fields in read_fields(file, os.fsencode(self._root[1:])):
            if fields[0] == CUT_SHORT[0]:
                raise PathError(listed, "the list of the image is cut short, or of another format", BUILD)
            entry = Entry(fields, _unquoted(fields[PATH]), None, b"")
            if entry.key:  # of the top itself nothing is told
                yield entry

    def _counted(self, rows):
        for change in self._changes(rows):
            self.totals[change.what] += 1
            if change.what != REMOVED:
                self.totals["files"] += change.files
                self.totals["bytes"] += change.bytes
            yield change

    def _changes(self, rows):
        whole = None  # a directory that is one change with all that is in it, or that is left out
        for own, old in rows:
            path = (own or old).path
            if whole is not None and path.startswith(whole.path + b"/"):
                self._add(whole, own, old)
                continue
            if whole is not None and whole.told:
                yield whole
            whole = None
            if own is None:
                change = Change(REMOVED, path, KINDS.get(old.fields[0], OTHER))
            elif old is not None and own.status is not None and _is_same(old.fields, own):
                continue
            elif self._stays(own):
                change = Change("", path, OTHER)
            else:
                change = Change(CHANGED if old else ADDED, path, _kind(own.status))
            self._add(change, own, old)
            if own is None or old is None or own.is_directory != old.is_directory:
                whole = change
            elif change.told:
                yield change
        if whole is not None and whole.told:
            yield whole

    def _stays(self, own):
        """bool: whether it is left out, or is a link to what outlives the container."""
        if not own.is_link:
            return own.status is None
        try:
            target = os.fsdecode(os.readlink(own.name, dir_fd=own.dir_fd))
        except OSError as error:
            if error.errno in (*GONE, errno.EINVAL):
                return False
            raise
        where = os.path.join(self._root, os.path.dirname(os.fsdecode(own.path)), target)
        return inside(os.path.realpath(where), self._store)

    def _add(self, change, own, old):
        if change.what == REMOVED:
            if not old.is_directory:
                change.files += 1
                change.bytes += int(old.fields[4]) if old.fields[0] == b"f" else 0
        elif change.what and own is not None and not own.is_directory:
            if self._stays(own):
                change.left_out = True
            else:
                change.files += 1
                change.bytes += _size_once(own.status, self._linked)


def _seen_below(top_fd, left_out=frozenset()):
    visits = walk_steadily(top_fd, left_out)
    return (Seen(visit.path, visit.name, visit.dir_fd, visit.status) for visit in visits if visit.event != LEAVE)


def count(dir_fd, name):
    """Count what stands at a name in an open directory, whatever comes and goes meanwhile.

    Args:
        dir_fd (int): the directory.
        name (bytes): the name.

    Returns:
        tuple: (int, int), how many files it is or holds, directories not counted, and the bytes of their data.
    """
    status = lstat(name, dir_fd)
    if status is None:
        return 0, 0
    linked = HardLinks()
    if not stat.S_ISDIR(status.st_mode):
        return 1, _size_once(status, linked)
    fd = open_if_there(name, dir_fd, name)
    if fd is None:
        return 0, 0
    try:
        leaves = (own for own in _seen_below(fd) if own.status is not None and not own.is_directory)
        sizes = [_size_once(own.status, linked) for own in leaves]
    finally:
        os.close(fd)
    return len(sizes), sum(sizes)


def _rank(change):
    return -change.bytes, change.path


def _unquoted(path):
    return unquote_to_bytes(path) if b"%" in path else path


def _is_same(fields, own):
    """bool: whether what is on the disk is what a line of the list says. Times count of files alone, and where nothing else
    differs the content decides, if there is a digest of it."""
    try:
        found = line(own, b"").split(b" ")
        if own.is_directory:  # its time is that of the last name that came or went
            return found[:OWNER_AND_MODE] == fields[:OWNER_AND_MODE]
        if found[:MTIME] != fields[:MTIME] or found[TARGET] != fields[TARGET]:
            return False
        if found[0] != b"f" or found[MTIME] == fields[MTIME] or is_rounded(fields[MTIME], found[MTIME]):
            return True
        return bool(fields[DIGEST]) and content_digest(own.name, own.dir_fd, own.status).encode("ascii") == fields[DIGEST]
    except OSError as error:
        if error.errno in (*GONE, errno.EINVAL, errno.ESTALE):
            return False
        raise


def _kind(status):
    kinds = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}
    return kinds.get(stat.S_IFMT(status.st_mode), OTHER)


def _size_once(status, linked):
    """The bytes of a file's data; 0 for a further name of a file that was counted."""
    return 0 if not stat.S_ISREG(status.st_mode) or linked.is_counted(status) else status.st_size
