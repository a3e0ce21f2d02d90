# SPDX-License-Identifier: Apache-2.0
"""A manifest: one line per file of a tree, with type, mode, owner, size, mtime, path, link target, and a digest of small files.

cm_persist writes one when it seeds a path, and container/build writes one of the whole image. An original must equal it before
it may be discarded, and it shows which files a new image changed. A large file has no digest; the manifest of a copy has the time
of its last change of any kind (ctime) instead, which no program can set. It is text, written and read as a stream: a first line
with the format; the entries in the order of walk(); before the first entry of each owner a line with its name; and a last line
with the number of entries, the manifest's own digest, and the name of the image.
"""

import errno
import hashlib
import mmap
import os
import stat
from itertools import zip_longest
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..fs.accounts import Accounts, by_number
from ..fs.dirfd import Opened, open_quietly, open_regular
from .walk import LEAVE, Visit, walk

FIRST = b"cm_persist manifest 2\n"
LONGEST = 16 << 20  # bytes of a line; a path may be longer than the kernel takes at a time
CUT_SHORT = [b"?", b"", b"", b"", b"", b"", b"the manifest, cut short,", b"", b""]  # equals no entry
TYPES = {
    stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p",
    stat.S_IFCHR: "c", stat.S_IFBLK: "b",
}  # fmt: skip
MTIME, PATH, TARGET, DIGEST = 5, 6, 7, 8  # indices of these fields in a line
USER, GROUP, END = b"user", b"group", b"end"  # the first field of lines that are not entries
NOBODY = Accounts({}, {})
LARGEST_HASHED = 16 << 10  # bytes of a file whose content has a digest: configuration and code, not data
CHANGED_AT = b"@"  # before the ctime, in nanoseconds, that a large file has instead of a digest
DIGITS = 32  # hexadecimal, of SHA-256: enough that no two contents have the same by chance
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
PIECE = 1 << 20  # bytes of two files that are compared at a time
LAST_LINE = 4 << 10  # bytes: the name of an image is shorter than 1 KiB
WHOLE_SECONDS = b"000000000"  # the last digits of a time in nanoseconds that has no fraction
LONGEST_TIME = 20  # digits, with a sign


OTHER_CONTENT = "not proven to have the listed content"  # Difference.found


class Difference(NamedTuple):
    """The first entry that differs between a tree and a manifest: its relative path, and how it differs."""

    path: bytes
    found: str


class Scrutiny(NamedTuple):
    """How closely a tree is compared with a manifest.

    removal_begun: an interrupted run has removed a part of the tree, so entries may be missing, and directories have new times.
    content: compare digests, and of a file that has none the time of its last change (ctime): it must be the one in the manifest,
    or not after layer_time (nanoseconds since 1970), when all layers of the image were there.
    """

    removal_begun: bool = False
    content: bool = False
    layer_time: int = 0


METADATA = Scrutiny()


class ManifestWriter:
    """Writes the lines of one manifest into an open binary file; accounts has the names of owners. of_copy: note when large files
    were last changed."""

    def __init__(self, file, accounts: Accounts = NOBODY, of_copy: bool = False):
        self._of_copy = of_copy
        self._file, self._names = file, {USER: by_number(accounts.users), GROUP: by_number(accounts.groups)}
        self._count, self._digest = 0, hashlib.sha256()
        self._write(FIRST)

    def add(self, visit: Visit, path: Optional[bytes] = None) -> None:
        """Write the line of a visit, if it is listed(); path replaces its path in the walk."""
        if listed(visit):
            self.add_line(line(visit, path), visit.status, content_digest(visit.name, visit.dir_fd, visit.status))

    def add_line(self, text: bytes, status: os.stat_result, digest: str) -> None:
        """Write the line() of an entry with this status; digest is '' if its content has none."""
        self._name(USER, status.st_uid)
        self._name(GROUP, status.st_gid)
        proof = digest.encode("ascii")
        if self._of_copy and not proof and stat.S_ISREG(status.st_mode) and status.st_size:
            proof = CHANGED_AT + b"%d" % status.st_ctime_ns
        self._write(b"%s %s\n" % (text, proof))
        self._count += 1

    def add_fields(self, fields: List[bytes]) -> None:
        """Write the line of an entry again, from its fields."""
        self._name(USER, int(fields[2]))
        self._name(GROUP, int(fields[3]))
        self._write(b" ".join(fields) + b"\n")
        self._count += 1

    def finish(self, name: str = "") -> None:
        """Write the last line, with the name of the image."""
        digest = self._digest.hexdigest()[:DIGITS].encode("ascii")
        self._write(b"%s %d %s %s\n" % (END, self._count, digest, quote_from_bytes(os.fsencode(name)).encode("ascii")))

    def _name(self, what, number):
        name = self._names[what].pop(number, None)
        if name:  # once, before the first entry
            self._write(b"%s %d %s\n" % (what, number, quote_from_bytes(name).encode("ascii")))

    def _write(self, text):
        self._file.write(text)
        self._digest.update(text)


def write_manifest(file, dir_fd: int, name: bytes, accounts: Accounts) -> None:
    """Write the manifest of the tree with this name in an open directory to an open binary file."""
    writer = ManifestWriter(file, accounts)
    for visit in walk(dir_fd, name):
        writer.add(visit)
    writer.finish()


def copy_part(whole, within: bytes, part, accounts: Accounts) -> None:
    """Write the part of a manifest that lists the tree at a path in it as a manifest of its own; whole and part are open binary
    files, accounts has the names of owners."""
    writer = ManifestWriter(part, accounts)
    for fields in read_fields(whole, within):
        if fields[0] == CUT_SHORT[0]:
            raise OSError(errno.EBADMSG, "the list of the image is broken", whole.name)
        writer.add_fields(fields)
    writer.finish()


def content_digest(name: bytes, dir_fd: int, status: os.stat_result) -> str:
    """The digest of the file with this name in an open directory; '' for anything but a small file."""
    if not is_hashed(status):
        return ""
    with Opened(open_quietly(name, READ, dir_fd)) as fd:
        data = os.read(fd, LARGEST_HASHED)
        if len(data) != status.st_size:
            raise OSError(errno.ESTALE, "it changed while it was read", name)
        return digest_of(data)


def is_hashed(status: os.stat_result) -> bool:
    """True if a file with this status has a digest in a manifest."""
    return stat.S_ISREG(status.st_mode) and 0 < status.st_size <= LARGEST_HASHED


def digest_of(data: bytes) -> str:
    """The digest of the content of a file."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def read_identity(path: str) -> Optional[Tuple[str, str]]:
    """The digest of a manifest and the name of its image, from its last line alone; None if it does not exist or is cut short."""
    try:
        with open(open_regular(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_LINE))
            fields = file.read().rpartition(b"\n" + END + b" ")[2].split(b" ")
    except OSError:
        return None  # it does not exist, or cannot be read: an image without one
    if len(fields) != 3 or not fields[2].endswith(b"\n") or len(fields[1]) != DIGITS:
        return None
    return fields[1].decode("ascii", "replace"), os.fsdecode(unquote_to_bytes(fields[2].rstrip(b"\n")))


def is_listed(path: str, within: bytes) -> bool:
    """True if a manifest has an entry for a path in it; False if it does not exist or cannot be read."""
    try:
        with open(open_regular(path), "rb") as file:
            return file.readline(LONGEST) == FIRST and _go_to(file, quote_from_bytes(within).encode("ascii"))
    except (OSError, ValueError):  # ValueError: it is empty
        return False


def listed(visit: Visit) -> bool:
    """True if a visit has a line in a manifest: a LEAVE has none, nor a socket, which is only a name for a running process."""
    return visit.event != LEAVE and not stat.S_ISSOCK(visit.status.st_mode)


def line(visit: Visit, path: Optional[bytes] = None) -> bytes:
    """The line of an entry without its digest: fields separated by blanks, path and target in percent-encoding.

    path replaces the entry's path in the walk.
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


def compare(file, tree: Tuple[int, bytes], scrutiny: Scrutiny = METADATA, within: bytes = b"") -> Optional[Difference]:
    """The first difference between a tree (an open directory, and a name in it) and a manifest; None if they are equal.

    The manifest is read as by read_fields().
    """
    begun, entries = scrutiny.removal_begun, read_fields(file, within)
    for visit in walk(*tree):
        if not listed(visit):
            continue
        found = line(visit).split(b" ")
        expected = next((entry for entry in entries if not begun or _same(entry[:DIGEST], found, begun)), None)
        if expected is None or not _same(expected[:DIGEST], found, begun):
            return Difference(visit.path, "new or changed")
        if scrutiny.content and not _has_content(expected[DIGEST], visit, scrutiny):
            return Difference(visit.path, OTHER_CONTENT)
    missing = next((entry for entry in entries if not begun or entry[0] == CUT_SHORT[0]), None)
    return None if missing is None else Difference(missing[PATH], "gone")


def same_trees(one: Tuple[int, bytes], other: Tuple[int, bytes]) -> bool:
    """True if two trees (open directory, name) are equal: all metadata, but for fractions of a second that one cannot keep, and
    the content of every file."""
    first, second = ((visit for visit in walk(*tree) if listed(visit)) for tree in (one, other))
    for visits in zip_longest(first, second):
        if None in visits or not _same(*(line(visit).split(b" ") for visit in visits), False) or not _same_data(*visits):
            return False
    return True


def read_fields(file, within: bytes = b"", owners: Optional[Dict[Tuple[bytes, bytes], bytes]] = None) -> Iterator[List[bytes]]:
    """The fields of each entry of a manifest, a binary file open at its start. If it is cut short, CUT_SHORT comes last.

    within is a path in it, for the part that lists that tree; empty for the whole. owners receives the names of owners, from
    (USER or GROUP, number) to name, each before its first entry.
    """
    if file.readline(LONGEST) != FIRST:
        yield CUT_SHORT
        return
    top = quote_from_bytes(within).encode("ascii")
    if within and not _go_to(file, top):
        return  # it does not list that path
    for fields in _entries(file, owners, bool(within)):
        if within and fields is not CUT_SHORT:
            if fields[PATH] != top and not fields[PATH].startswith(top + b"/"):
                return
            fields[PATH] = fields[PATH][len(top) + 1 :] or b"."
        yield fields


def _entries(file, owners, part):
    count = 0
    for text in iter(lambda: file.readline(LONGEST), b""):
        fields = text.rstrip(b"\n").split(b" ")
        if not text.endswith(b"\n"):
            break
        if fields[0] == END and (part or fields[1:2] == [b"%d" % count]):  # of a part, the other entries are in its count too
            return
        if fields[0] in (USER, GROUP) and len(fields) == 3:
            if owners is not None:
                owners[fields[0], fields[1]] = unquote_to_bytes(fields[2])
            continue
        if len(fields) != DIGEST + 1:
            break
        count += 1
        yield fields
    yield CUT_SHORT


def _go_to(file, top):
    """Go to the line of a path (quoted); False if the manifest has no entry for it."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        at = text.find(b" " + top + b" ")
        while at != -1:
            start = text.rfind(b"\n", 0, at) + 1
            if text[start:at].count(b" ") == PATH - 1:
                file.seek(start)
                return True
            at = text.find(b" " + top + b" ", at + 1)
    return False


def _has_content(proof, visit, scrutiny) -> bool:
    """True if the content of a file is known to be the one that was listed."""
    status = visit.status
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return True
    if is_hashed(status):
        return content_digest(visit.name, visit.dir_fd, status).encode("ascii") == proof
    if scrutiny.removal_begun:  # which changes the ctime of a file that loses a name; all was compared before it began
        return True
    return status.st_ctime_ns <= scrutiny.layer_time or proof == CHANGED_AT + b"%d" % status.st_ctime_ns


def _same_data(one, other) -> bool:
    if not stat.S_ISREG(one.status.st_mode):
        return True
    one_fd, other_fd = (open_quietly(each.name, READ, each.dir_fd) for each in (one, other))
    with Opened(one_fd) as first, Opened(other_fd) as second:
        while True:
            data = os.read(first, PIECE), os.read(second, PIECE)
            if data[0] != data[1]:
                return False
            if not data[0]:
                return True


def _same(expected, found, removal_begun):
    if expected == found:
        return True
    if expected[:MTIME] + expected[PATH:] != found[:MTIME] + found[PATH:]:
        return False
    return (removal_begun and found[0] == b"d") or is_rounded(expected[MTIME], found[MTIME])


def is_rounded(exact: bytes, found: bytes) -> bool:
    """True if the time found is the exact one, cut or rounded to whole seconds. Both are decimal numbers of nanoseconds.

    Layers of images keep whole seconds; an image on the machine that built it still has the exact time.
    """
    if not found.endswith(WHOLE_SECONDS) or len(exact) > LONGEST_TIME or not exact.lstrip(b"-").isdigit():
        return False
    return abs(int(exact) - int(found)) < 10 ** len(WHOLE_SECONDS)
