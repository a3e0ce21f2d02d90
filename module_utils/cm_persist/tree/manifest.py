# SPDX-License-Identifier: Apache-2.0
"""One line per file of a tree: type, mode, owner, size, mtime, path, link target, and of small files a digest of their content.

Written when a path is seeded, and of the whole image when it is built; what an original is compared with before it may be
discarded, and what tells which files a new image changed. Text, streamed both ways: a first line that names the format, the
entries in the order of walk(), before the first of each owner a line with its name, and a last line that counts the entries and
tells the manifest's own digest, and the image's name.
"""

import errno
import hashlib
import mmap
import os
import stat
from itertools import zip_longest
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..fs.accounts import Accounts
from ..fs.dirfd import open_quietly, open_regular
from .walk import LEAVE, walk

FIRST = b"cm_persist manifest 2\n"
LONGEST = 16 << 20  # bytes of a line; a path may be longer than the kernel takes at a time
CUT_SHORT = [b"?", b"", b"", b"", b"", b"", b"the manifest, cut short,", b"", b""]  # an entry that nothing equals
TYPES = {
    stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p",
    stat.S_IFCHR: "c", stat.S_IFBLK: "b",
}  # fmt: skip
MTIME, PATH, TARGET, DIGEST = 5, 6, 7, 8  # indices of these fields in a line
USER, GROUP, END = b"user", b"group", b"end"  # how the lines begin that are no entries
NOBODY = Accounts({}, {})
LARGEST_HASHED = 16 << 10  # bytes of a file whose content has a digest: configuration and code, not data
DIGITS = 32  # hexadecimal, of SHA-256: enough that no two contents meet by chance
LAST_LINE = 4 << 10  # bytes: an image's name is shorter than 1 KiB
WHOLE_SECONDS = b"000000000"  # how a time in nanoseconds ends that has no fraction
LONGEST_TIME = 20  # digits, with a sign


class Difference(NamedTuple):
    """The first place where a tree is not what a manifest says: path (bytes) is relative, found says what is with it."""

    path: bytes
    found: str


class ManifestWriter:
    """Writes the lines of one manifest into an open binary file.

    Args:
        file (binary file): open for writing.
        accounts (Accounts): names of owners.
    """

    def __init__(self, file, accounts=NOBODY):
        self._file, self._accounts = file, accounts
        self._count, self._digest, self._named = 0, hashlib.sha256(), set()
        self._write(FIRST)

    def add(self, visit, path=None):
        """Write the line of one step of a walk; a directory's LEAVE has none, and neither has a socket.

        Args:
            visit (Step): of walk().
            path (bytes): what to call it, if not by its path in the walk.
        """
        if listed(visit):
            self.add_line(line(visit, path), visit.status, content_digest(visit.name, visit.dir_fd, visit.status))

    def add_line(self, text, status, digest):
        """Write the line of an entry.

        Args:
            text (bytes): as line() gives it.
            status (os.stat_result): of the entry.
            digest (str): of its content; '' for none.
        """
        self._name(USER, status.st_uid, self._accounts.user)
        self._name(GROUP, status.st_gid, self._accounts.group)
        self._write(b"%s %s\n" % (text, digest.encode("ascii")))
        self._count += 1

    def finish(self, name=""):
        """Write the last line; name (str) is what the image is called."""
        digest = self._digest.hexdigest()[:DIGITS].encode("ascii")
        self._write(b"%s %d %s %s\n" % (END, self._count, digest, quote_from_bytes(os.fsencode(name)).encode("ascii")))

    def _name(self, what, number, name_of):
        if (what, number) not in self._named:
            self._named.add((what, number))
            name = name_of(number)
            if name:
                self._write(b"%s %d %s\n" % (what, number, quote_from_bytes(os.fsencode(name)).encode("ascii")))

    def _write(self, text):
        self._file.write(text)
        self._digest.update(text)


def write_manifest(file, dir_fd, name, accounts):
    """Write the manifest of a tree.

    Args:
        file (binary file): open for writing.
        dir_fd (int): the open directory that holds the tree.
        name (bytes): the tree's name in it.
        accounts (Accounts): names of owners.
    """
    writer = ManifestWriter(file, accounts)
    for visit in walk(dir_fd, name):
        writer.add(visit)
    writer.finish()


def content_digest(name, dir_fd, status):
    """str: the digest of what stands at a name in an open directory, if it is a small file; '' for all else."""
    if not is_hashed(status):
        return ""
    fd = open_quietly(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd)
    try:
        data = os.read(fd, LARGEST_HASHED)
        if len(data) != status.st_size:
            raise OSError(errno.ESTALE, "it changed while it was read", name)
        return digest_of(data)
    finally:
        os.close(fd)


def is_hashed(status):
    """bool: whether what has this os.stat_result has a digest in a manifest."""
    return stat.S_ISREG(status.st_mode) and 0 < status.st_size <= LARGEST_HASHED


def digest_of(data):
    """str: the digest of a content (bytes)."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def read_identity(path):
    """Read which image a manifest is of, from its last line alone.

    Args:
        path (str): of the manifest.

    Returns:
        tuple: (str, str), its digest and the image's name; None where there is none, or it is cut short.
    """
    try:
        with open(open_regular(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_LINE))
            fields = file.read().rpartition(b"\n" + END + b" ")[2].split(b" ")
    except OSError:
        return None  # not there, or nothing to be read: an image without one
    if len(fields) != 3 or not fields[2].endswith(b"\n") or len(fields[1]) != DIGITS:
        return None
    return fields[1].decode("ascii", "replace"), os.fsdecode(unquote_to_bytes(fields[2].rstrip(b"\n")))


def listed(visit):
    """bool: whether a step of a walk has a line in a manifest: a socket is only a name for a running process."""
    return visit.event != LEAVE and not stat.S_ISSOCK(visit.status.st_mode)


def line(visit, path=None):
    """bytes: the line of an entry without its digest, its fields parted by blanks, path and target in percent-encoding.

    Arguments as of ManifestWriter.add().
    """
    status = visit.status
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    size = status.st_size if kind == "f" else status.st_rdev if kind in "cb" else 0
    target = quote_from_bytes(os.readlink(visit.name, dir_fd=visit.dir_fd)) if kind == "l" else ""
    text = "{} {:04o} {} {} {} {} {} {}".format(
        kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns,
        quote_from_bytes(visit.path if path is None else path), target,
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
    entries = (fields[:DIGEST] for fields in read_fields(file, within))
    for visit in walk(dir_fd, name):
        if not listed(visit):
            continue
        found = line(visit).split(b" ")
        expected = next((entry for entry in entries if not begun or _same(entry, found, begun)), None)
        if expected is None or not _same(expected, found, begun):
            return Difference(visit.path, "new or changed")
    missing = [entry for entry in entries if not begun or entry[0] == CUT_SHORT[0]][:1]
    if missing:
        return Difference(missing[0][PATH], "gone")
    return None


def same_trees(one, other):
    """bool: whether two trees have the same metadata throughout, times but for fractions of a second that one cannot keep.

    Args:
        one, other (tuple of int and bytes): an open directory and the tree's name in it.
    """
    first, second = ((line(visit).split(b" ") for visit in walk(*tree) if listed(visit)) for tree in (one, other))
    return all(None not in pair and _same(*pair, False) for pair in zip_longest(first, second))


def read_fields(file, within=b"", owners=None):
    """Read the entries of a manifest.

    Args:
        file (binary file): open at its start.
        within (bytes): as for compare().
        owners (dict): is given the names of owners, (USER or GROUP, number) to name, both bytes, each before its first entry.

    Yields:
        list of bytes: an entry's fields; of a manifest that is cut short, or of another format, CUT_SHORT comes last.
    """
    top = quote_from_bytes(within).encode("ascii")
    if file.readline(LONGEST) == FIRST:
        if within and not _go_to(file, top):
            return  # of what is not in it nothing was promised
        count = 0
        for text in iter(lambda: file.readline(LONGEST), b""):
            fields = text.rstrip(b"\n").split(b" ")
            # Of a part the last line counts the others too.
            if fields[0] == END and (within or fields[1:2] == [b"%d" % count]) and text.endswith(b"\n"):
                return
            if fields[0] in (USER, GROUP) and len(fields) == 3:
                if owners is not None:
                    owners[fields[0], fields[1]] = unquote_to_bytes(fields[2])
                continue
            if not text.endswith(b"\n") or len(fields) != DIGEST + 1:
                break
            count += 1
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
    return others[0] == others[1] and is_rounded(expected[MTIME], found[MTIME])


def is_rounded(exact, found):
    """bool: whether a time (bytes of a decimal number, nanoseconds) is another one, cut or rounded to whole seconds.

    Image layers keep no more; what has not yet left the machine that built it still shows it.
    """
    if not found.endswith(WHOLE_SECONDS) or len(exact) > LONGEST_TIME or not exact.lstrip(b"-").isdigit():
        return False
    return abs(int(exact) - int(found)) < 10 ** len(WHOLE_SECONDS)
