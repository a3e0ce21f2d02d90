# SPDX-License-Identifier: Apache-2.0
"""One line per file of a tree, by metadata: type, mode, owner, size, mtime, link target.

Written when a path is seeded; what an original is compared with before it may be discarded. Text, streamed both ways:
a first line that names the format, the entries in the order of walk(), a last line that counts them.
"""

import os
import stat
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from .walk import LEAVE, walk

FIRST = b"cm_persist manifest 1\n"
LONGEST = 16 << 20  # bytes of a line; a path may be longer than the kernel takes at a time
CUT_SHORT = b"manifest cut short\n"
TYPES = {
    stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p",
    stat.S_IFCHR: "c", stat.S_IFBLK: "b",
}  # fmt: skip
DIRECTORY_MTIME = 5  # index of that field in a line


class Difference(NamedTuple):
    """The first place where a tree is not what a manifest says: path (bytes) is relative, found says what is with it."""

    path: bytes
    found: str


class ManifestWriter:
    """Writes the lines of one manifest into an open binary file."""

    def __init__(self, file):
        self._file, self._count = file, 0
        file.write(FIRST)

    def add(self, step):
        """Write the line of one step of a walk; a directory's LEAVE has none, and neither has a socket."""
        if listed(step):
            self._file.write(line(step))
            self._count += 1

    def finish(self):
        """Write the last line."""
        self._file.write(b"end %d\n" % self._count)


def listed(step):
    """bool: whether a step of a walk has a line in a manifest: a socket is only a name for a running process."""
    return step.event != LEAVE and not stat.S_ISSOCK(step.status.st_mode)


def line(step):
    """bytes: the line of an entry, its fields parted by blanks, path and target in percent-encoding."""
    status = step.status
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    size = status.st_size if kind == "f" else status.st_rdev if kind in "cb" else 0
    target = quote_from_bytes(os.readlink(step.name, dir_fd=step.dir_fd)) if kind == "l" else ""
    text = "{} {:04o} {} {} {} {} {} {}\n".format(
        kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns,
        quote_from_bytes(step.path), target,
    )  # fmt: skip
    return text.encode("ascii")


def compare(file, dir_fd, name, begun=False):
    """Compare a tree with a manifest, reading both once.

    Args:
        file (binary file): the manifest, open at its start.
        dir_fd (int): the open directory that holds the tree.
        name (bytes): the tree's name in it.
        begun (bool): the tree's removal has begun: entries may be missing, and directories have new times.

    Returns:
        Difference: the first; None where there is none.
    """
    lines = _entries(file)
    for step in walk(dir_fd, name):
        if not listed(step):
            continue
        found = _fields(line(step), begun)
        expected = next((text for text in lines if not begun or _fields(text, begun) == found), None)
        if expected is None or _fields(expected, begun) != found:
            return Difference(step.path, "new or changed")
    missing = [text for text in lines if not begun or text == CUT_SHORT][:1]
    if missing:
        return Difference(_fields(missing[0], True)[-2], "gone")
    return None


def _entries(file):
    """Yield the entry lines; of a manifest that is cut short, or of another format, one that equals nothing comes last."""
    count = -1
    if file.readline(LONGEST) == FIRST:
        for count, text in enumerate(iter(lambda: file.readline(LONGEST), b"")):
            if text == b"end %d\n" % count:
                return
            if not text.endswith(b"\n"):
                break
            yield text
    yield CUT_SHORT


def _fields(text, begun):
    fields = text.rstrip(b"\n").split(b" ")
    if begun and fields[0] == b"d":
        fields[DIRECTORY_MTIME] = b""
    return fields
