# SPDX-License-Identifier: Apache-2.0
"""One line per file of a tree, by metadata: type, mode, owner, size, mtime, link target.

Written when a path is seeded, and of the whole image when it is built; what an original is compared with before it may be
discarded. Text, streamed both ways: a first line that names the format, the entries in the order of walk(), a last line that
counts them.
"""

import mmap
import os
import stat
from itertools import zip_longest
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from .walk import LEAVE, walk

FIRST = b"cm_persist manifest 1\n"
LONGEST = 16 << 20  # bytes of a line; a path may be longer than the kernel takes at a time
CUT_SHORT = [b"?", b"", b"", b"", b"", b"", b"the manifest, cut short,"]  # an entry that nothing equals
TYPES = {
    stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p",
    stat.S_IFCHR: "c", stat.S_IFBLK: "b",
}  # fmt: skip
MTIME, PATH = 5, 6  # indices of these fields in a line
WHOLE_SECONDS = b"000000000"  # how a time in nanoseconds ends that has no fraction
LONGEST_TIME = 20  # digits, with a sign


class Difference(NamedTuple):
    """The first place where a tree is not what a manifest says: path (bytes) is relative, found says what is with it."""

    path: bytes
    found: str


class ManifestWriter:
    """Writes the lines of one manifest into an open binary file."""

    def __init__(self, file):
        self._file, self._count = file, 0
        file.write(FIRST)

    def add(self, step, path=None):
        """Write the line of one step of a walk; a directory's LEAVE has none, and neither has a socket.

        Args:
            step (Step): of walk().
            path (bytes): what to call it, if not by its path in the walk.
        """
        if listed(step):
            self._file.write(line(step, path))
            self._count += 1

    def finish(self):
        """Write the last line."""
        self._file.write(b"end %d\n" % self._count)


def listed(step):
    """bool: whether a step of a walk has a line in a manifest: a socket is only a name for a running process."""
    return step.event != LEAVE and not stat.S_ISSOCK(step.status.st_mode)


def line(step, path=None):
    """bytes: the line of an entry, its fields parted by blanks, path and target in percent-encoding. As ManifestWriter.add()."""
    status = step.status
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    size = status.st_size if kind == "f" else status.st_rdev if kind in "cb" else 0
    target = quote_from_bytes(os.readlink(step.name, dir_fd=step.dir_fd)) if kind == "l" else ""
    text = "{} {:04o} {} {} {} {} {} {}\n".format(
        kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns,
        quote_from_bytes(step.path if path is None else path), target,
    )  # fmt: skip
    return text.encode("ascii")


def compare(file, dir_fd, name, begun=False, within=b""):
    """Compare a tree with a manifest, reading both once.

    Args:
        file (binary file): the manifest, open at its start.
        dir_fd (int): the open directory that holds the tree.
        name (bytes): the tree's name in it.
        begun (bool): the tree's removal has begun: entries may be missing, and directories have new times.
        within (bytes): what part of the manifest is meant, as a path in it; empty for the whole.

    Returns:
        Difference: the first; None where there is none.
    """
    entries = _entries(file, within)
    for step in walk(dir_fd, name):
        if not listed(step):
            continue
        found = line(step).rstrip(b"\n").split(b" ")
        expected = next((entry for entry in entries if not begun or _same(entry, found, begun)), None)
        if expected is None or not _same(expected, found, begun):
            return Difference(step.path, "new or changed")
    missing = [entry for entry in entries if not begun or entry == CUT_SHORT][:1]
    if missing:
        return Difference(missing[0][PATH], "gone")
    return None


def same_trees(one, other):
    """bool: whether two trees have the same metadata throughout, times but for fractions of a second that one cannot keep.

    Args:
        one, other (tuple of int and bytes): an open directory and the tree's name in it.
    """
    first, second = ((line(step).rstrip(b"\n").split(b" ") for step in walk(*tree) if listed(step)) for tree in (one, other))
    return all(None not in pair and _same(*pair, False) for pair in zip_longest(first, second))


def _entries(file, within):
    """Yield the entries' fields; of a manifest that is cut short, or of another format, one that equals nothing comes last."""
    top = quote_from_bytes(within).encode("ascii")
    if file.readline(LONGEST) == FIRST:
        if within and not _go_to(file, top):
            return  # of what is not in it nothing was promised
        for count, text in enumerate(iter(lambda: file.readline(LONGEST), b"")):
            # Of a part the last line counts the others too.
            if text.startswith(b"end ") and (within or text == b"end %d\n" % count):
                return
            if not text.endswith(b"\n") or text.count(b" ") <= PATH:
                break
            fields = text.rstrip(b"\n").split(b" ")
            if within:
                if fields[PATH] != top and not fields[PATH].startswith(top + b"/"):
                    return
                fields[PATH] = fields[PATH][len(top) + 1 :] or b"."
            yield fields
    yield CUT_SHORT


def _go_to(file, top):
    """bool: whether a manifest has an entry of that path (bytes, quoted); then the file is at its line."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        at = text.find(b" " + top + b" ")
        while at != -1:
            start = text.rfind(b"\n", 0, at) + 1
            if text[start:at].count(b" ") == PATH - 1:
                file.seek(start)
                return True
            at = text.find(b" " + top + b" ", at + 1)
    return False


def _same(expected, found, begun):
    if begun and expected[0] == found[0] == b"d":
        return expected[:MTIME] + expected[PATH:] == found[:MTIME] + found[PATH:]
    if expected == found:
        return True
    others = (expected[:MTIME] + expected[PATH:], found[:MTIME] + found[PATH:])
    return others[0] == others[1] and _is_rounded(expected[MTIME], found[MTIME])


def _is_rounded(exact, found):
    """bool: whether a time (bytes of a decimal number, nanoseconds) is another one, cut or rounded to whole seconds.

    Image layers keep no more; what has not yet left the machine that built it still shows it.
    """
    if not found.endswith(WHOLE_SECONDS) or len(exact) > LONGEST_TIME or not exact.lstrip(b"-").isdigit():
        return False
    return abs(int(exact) - int(found)) < 10 ** len(WHOLE_SECONDS)
