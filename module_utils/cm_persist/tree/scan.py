# SPDX-License-Identifier: Apache-2.0
"""Scan a tree before it is copied: its size, the room that a copy needs, and whether this user can make one."""

import os
import stat
from typing import List, NamedTuple, Optional, Set, Tuple

from ..errors import CopyError, Where, because
from ..text import size
from .walk import LEAVE, walk

LINE = 100  # bytes of a manifest's line besides path and target, which percent-encoding makes three times as long
SHORT_LINK = 60  # bytes: shorter ones have room in the inode of ext4
BLOCK = 4096  # bytes: the usual file systems round the size of a file up to a multiple


UP = len("../")


class ScanResult(NamedTuple):
    """The size of a tree. files counts all but directories, data is in bytes (as ls shows it), space in bytes on disk.

    A file with several names counts once in data, space and inodes.
    """

    files: int = 0
    data: int = 0
    space: int = 0
    inodes: int = 0
    lines: int = 0  # bytes that its manifest takes at most
    others: str = ""  # the first path that belongs to another user than this process, '' if none does
    leading_out: Tuple[Tuple[bytes, bytes], ...] = ()  # relative links out of it, and where to: paths relative to its top


class Room(NamedTuple):
    """Free space: bytes, and inodes (None: unlimited)."""

    bytes: int = 0
    inodes: Optional[int] = None

    def shortage(self, scans: List[ScanResult], books: int) -> str:
        """What copies of trees lack here, '' for nothing; books is how many files and directories come with them."""
        need_bytes = sum(scan.space + scan.lines for scan in scans) + books * BLOCK
        need_inodes = sum(scan.inodes for scan in scans) + books
        short = []
        if need_bytes > self.bytes:
            sizes = size(need_bytes - self.bytes), size(need_bytes), size(self.bytes)
            short.append("{} short: {} needed, {} free".format(*sizes))
        if self.inodes is not None and need_inodes > self.inodes:
            numbers = need_inodes - self.inodes, need_inodes, self.inodes
            short.append("{} inodes short: {} needed, {} free".format(*numbers))
        return "; ".join(short)


def room_of(space: os.statvfs_result, leftover: ScanResult) -> Room:
    """The free space of a file system, once what is left over on it is removed."""
    # btrfs counts no inodes, and CephFS says -1 for any number.
    inodes = space.f_favail + leftover.inodes if space.f_files and space.f_favail >= 0 else None
    return Room(space.f_bavail * space.f_frsize + leftover.space, inodes)


def is_further_name(status: os.stat_result, met: Set[Tuple[int, int]]) -> bool:
    """True for a further name of a file; met has the files with several names so far, and this one is added."""
    inode = status.st_dev, status.st_ino
    further = inode in met
    if status.st_nlink > 1:
        met.add(inode)
    return further


def scan(dir_fd: int, name: bytes, path: str, uid: int) -> ScanResult:
    """The size of the tree with this name in an open directory; a CopyError at its path if it cannot be read.

    uid is that of this process; for root (0) no file belongs to others.
    """
    met = set()
    files = data = space = inodes = lines = 0
    others, leading_out = "", []
    try:
        for visit in walk(dir_fd, name):
            status = visit.status
            if visit.event == LEAVE or stat.S_ISSOCK(status.st_mode):  # sockets are not copied
                continue
            if uid and status.st_uid != uid and not others:
                others = str(Where(path, visit.path))
            lines += LINE + 3 * len(visit.path)
            leading_out += _leading_out(visit) if stat.S_ISLNK(status.st_mode) else ()
            is_directory = stat.S_ISDIR(status.st_mode)
            files += not is_directory
            if is_directory or not is_further_name(status, met):
                of_data, of_text, on_disk = _sizes(status)
                inodes, data, lines, space = inodes + 1, data + of_data, lines + 3 * of_text, space + on_disk
    except OSError as error:
        raise unreadable(path, error) from error
    return ScanResult(files, data, space, inodes, lines, others, tuple(leading_out))


def _leading_out(visit):
    """A link's path and where it leads, if that is relative and, as it is written, outside of the tree."""
    if visit.status.st_size < UP * visit.path.count(b"/") + UP - 1:
        return ()  # too short for that: reading it would change its time of access
    target = os.readlink(visit.name, dir_fd=visit.dir_fd)
    if target.startswith(b"/") or visit.path == b".":
        return ()
    leads_to = os.path.normpath(os.path.join(os.path.dirname(visit.path), target))
    return ((visit.path, leads_to),) if leads_to.split(b"/")[0] == b".." else ()


def _sizes(status):
    """The bytes of a file's data, of a link's text, and on disk."""
    if stat.S_ISREG(status.st_mode):
        return status.st_size, 0, -(-min(status.st_size, status.st_blocks * 512) // BLOCK) * BLOCK
    if stat.S_ISLNK(status.st_mode):
        return 0, status.st_size, BLOCK if status.st_size >= SHORT_LINK else 0
    return 0, 0, BLOCK if stat.S_ISDIR(status.st_mode) else 0


def unreadable(path: str, error: OSError) -> CopyError:
    """The error for a tree that cannot be read."""
    hint = "Run as root (become: true), with nothing writing to it."
    return CopyError(path, "it cannot be read: {}".format(because(error)), hint)
