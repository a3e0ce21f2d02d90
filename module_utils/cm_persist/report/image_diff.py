# SPDX-License-Identifier: Apache-2.0
"""Compare a file system with the list that was made with its image: both are read side by side, in the order of walk(), once.
Programs run meanwhile: files that come and go are no error. Nothing is changed."""

import errno
import heapq
import os
import stat
from typing import List, Optional, Set, Tuple
from urllib.parse import unquote_to_bytes

from ..errors import PathError, because, printable
from ..fs.dirfd import Opened, lstat, open_regular
from ..fs.node import DIRECTORY, FILE, LINK, OTHER
from ..paths import inside
from ..tree.compare import Entry, side_by_side
from ..tree.manifest import CUT_SHORT, DIGEST, MTIME, PATH, TARGET, content_digest, is_rounded, line, read_fields
from ..tree.scan import is_further_name
from ..tree.walk import GONE, LEAVE, open_if_there, walk_steadily
from .problems import reading

ADDED, CHANGED, REMOVED = "added", "changed", "removed"
KINDS = {b"d": DIRECTORY, b"f": FILE, b"l": LINK}
OWNER_AND_MODE = 4  # fields of a line that count of a directory: type, mode, user, group
BUILD = "Build the image with container/build, or name the list in image_manifest."


class Change:
    """One entry of the result, which may stand for a whole directory. what is ADDED, CHANGED or REMOVED, '' for what is left out;
    left_out: something in it stays when the container goes."""

    __slots__ = ("bytes", "files", "kind", "left_out", "path", "what")

    def __init__(self, what: str, path: bytes, kind: str):
        self.what, self.path, self.kind = what, path, kind
        self.bytes, self.files, self.left_out = 0, 0, False

    @property
    def counts(self) -> bool:
        """True unless it is left out, or a directory that was made for a link or a mount alone."""
        return bool(self.what) and not (self.what == ADDED and self.left_out and not self.files)


class Comparison:
    """The file system compared with the list of the image. root plays the file system's own root; links into the store are left
    out, and the relative paths in left_out are not looked at. totals are of all changes, once they were read."""

    def __init__(self, root: str, store: str, left_out: Set[bytes]):
        self._root, self._store, self._left_out = root, os.path.realpath(store), left_out
        self._met = set()  # files with several names
        self.totals = {ADDED: 0, CHANGED: 0, REMOVED: 0, "files": 0, "bytes": 0}

    def largest(self, list_path: str, limit: int) -> List[dict]:
        """The changes, the largest first, at most so many, 0 for all. Raises PathError if there is no list of the image, or if
        something cannot be read."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with _open_list(list_path) as file, reading(self._root), Opened(os.open(self._root, flags)) as top:
            found = self._counted(side_by_side(_seen_below(top, self._left_out), self._read(file, list_path)))
            found = heapq.nsmallest(limit, found, _rank) if limit else sorted(found, key=_rank)
        top = os.fsencode(self._root.rstrip("/")) + b"/"
        keys = ("what", "kind", "bytes", "files")
        return [{"path": printable(top + each.path), **{key: getattr(each, key) for key in keys}} for each in found]

    def _read(self, file, list_path):
        for fields in read_fields(file, os.fsencode(self._root[1:])):
            if fields[0] == CUT_SHORT[0]:
                raise PathError(list_path, "the list of the image is cut short, or of another format", BUILD)
            entry = Entry(fields, unquote_to_bytes(fields[PATH]), None, b"")
            if entry.key:  # the top itself is not reported
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
        for own, listed in rows:
            if whole is not None and (own or listed).path.startswith(whole.path + b"/"):
                self._add(whole, own, listed)
                continue
            if whole is not None and whole.counts:
                yield whole
            whole = None
            change = self._compare(own, listed)
            if change is None:
                continue
            self._add(change, own, listed)
            if own is None or listed is None or own.is_directory != listed.is_directory:
                whole = change
            elif change.counts:
                yield change
        if whole is not None and whole.counts:
            yield whole

    def _compare(self, own, listed) -> Optional[Change]:
        if own is None:
            return Change(REMOVED, listed.path, KINDS.get(listed.fields[0], OTHER))
        if listed is not None and own.status is not None and _is_same(listed.fields, own):
            return None
        if self._stays(own):
            return Change("", own.path, OTHER)
        return Change(CHANGED if listed else ADDED, own.path, _kind(own.status))

    def _stays(self, own) -> bool:
        """True if it is left out, or is a link to what outlives the container."""
        if own.status is None or not stat.S_ISLNK(own.status.st_mode):
            return own.status is None
        try:
            target = os.fsdecode(os.readlink(own.name, dir_fd=own.dir_fd))
        except OSError as error:
            if error.errno in (*GONE, errno.EINVAL):
                return False
            raise
        where = os.path.join(self._root, os.path.dirname(os.fsdecode(own.path)), target)
        return inside(os.path.realpath(where), self._store)

    def _add(self, change, own, listed):
        if change.what == REMOVED:
            if not listed.is_directory:
                change.files += 1
                change.bytes += int(listed.fields[4]) if listed.fields[0] == b"f" else 0
        elif change.what and own is not None and not own.is_directory:
            if self._stays(own):
                change.left_out = True
            else:
                change.files += 1
                change.bytes += _size_once(own.status, self._met)


def count(dir_fd: int, name: bytes) -> Tuple[int, int]:
    """How many files are at a name in an open directory, directories not counted, and the bytes of their data. Whatever comes and
    goes meanwhile is no error."""
    status = lstat(name, dir_fd)
    if status is None:
        return 0, 0
    met = set()
    if not stat.S_ISDIR(status.st_mode):
        return 1, _size_once(status, met)
    directory = open_if_there(name, dir_fd, name)
    if directory is None:
        return 0, 0
    with Opened(directory) as fd:
        leaves = (own for own in _seen_below(fd) if own.status is not None and not own.is_directory)
        sizes = [_size_once(own.status, met) for own in leaves]
    return len(sizes), sum(sizes)


def _seen_below(top_fd, left_out=frozenset()):
    return (visit for visit in walk_steadily(top_fd, left_out) if visit.event != LEAVE)


def _open_list(path):
    try:
        return open(open_regular(path), "rb")
    except FileNotFoundError:
        raise PathError(path, "there is no list of what the image holds", BUILD) from None
    except OSError as error:
        raise PathError(path, "the list of the image cannot be read: {}".format(because(error)), BUILD) from error


def _rank(change):
    return -change.bytes, change.path


def _is_same(fields, own) -> bool:
    """True if what is on the disk is what a line of the list says. Times count of files alone; if nothing but the time differs,
    the content decides, if there is a digest of it."""
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


def _size_once(status, met) -> int:
    """The bytes of a file's data; 0 for a further name of a file that was counted."""
    return 0 if not stat.S_ISREG(status.st_mode) or is_further_name(status, met) else status.st_size
