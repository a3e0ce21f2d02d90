# SPDX-License-Identifier: Apache-2.0
"""Look at a tree before it is copied: how much it holds, what a copy of it needs, and whether this user can make it."""

import stat
from typing import NamedTuple

from ..errors import CopyError, Where, because
from .walk import LEAVE, walk

LINE = 100  # bytes of a manifest's line besides path and target, which percent-encoding makes three times as long
SHORT_LINK = 60  # bytes: shorter ones find room in the inode of ext4
BLOCK = 4096  # bytes: what the usual file systems round a file up to


class ScanResult(NamedTuple):
    """What a tree holds: files counts all but directories, data is in bytes (as ls shows it), space in bytes on disk."""

    files: int = 0
    data: int = 0
    space: int = 0
    inodes: int = 0
    lines: int = 0  # bytes that its manifest takes at most
    others: str = ""  # the first path that belongs to someone else than this process, '' where none does


def scan(dir_fd, name, path, uid):
    """Count a tree.

    Args:
        dir_fd (int): the open directory that holds it.
        name (bytes): its name there.
        path (str): the same for errors.
        uid (int): of this process; for root nothing belongs to others.

    Returns:
        ScanResult: the counts; a file with several hard links counts once in space and inodes.

    Raises:
        CopyError: something in it cannot be read.
    """
    files = data = space = inodes = lines = 0
    others, linked = "", set()
    try:
        for visit in walk(dir_fd, name):
            status = visit.status
            if visit.event == LEAVE or stat.S_ISSOCK(status.st_mode):  # sockets are not copied
                continue
            if uid and status.st_uid != uid and not others:
                others = str(Where(path, visit.path))
            lines += LINE + 3 * len(visit.path)
            if stat.S_ISDIR(status.st_mode):
                space, inodes = space + BLOCK, inodes + 1
                continue
            files += 1
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in linked:
                    continue
                linked.add((status.st_dev, status.st_ino))
            inodes += 1
            if stat.S_ISREG(status.st_mode):
                data += status.st_size
                space += -(-min(status.st_size, status.st_blocks * 512) // BLOCK) * BLOCK
            elif stat.S_ISLNK(status.st_mode):
                lines += 3 * status.st_size
                space += BLOCK if status.st_size >= SHORT_LINK else 0
    except OSError as error:
        raise unreadable(path, error) from error
    return ScanResult(files, data, space, inodes, lines, others)


def unreadable(path, error):
    """CopyError: the error for an OSError met while a tree was read."""
    return CopyError(
        path, "it cannot be read: {}".format(because(error)), "Run as root (become: true), with nothing writing to it."
    )
