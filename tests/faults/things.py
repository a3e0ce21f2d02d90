# SPDX-License-Identifier: Apache-2.0
"""What may get lost in a copy, one entry for each: the list that specimen.py builds from.

A number among the parts of a file is the length of a hole. Holes and data come in multiples of UNIT, which is one of any
file system's blocks: none can hold smaller holes than its own.
"""

import os
import random
import stat
import struct
from typing import Callable, NamedTuple, Optional

from tests.site import run

UNIT = 1 << 16
DATA = bytes(range(1, 256)) * 257 + b"\1"  # of one UNIT, without a zero
SOON = 1 << 31  # s: the first second that a signed 32-bit number does not hold
FLAGS = {"sync": 0x8, "immutable": 0x10, "append-only": 0x20, "nodump": 0x40, "noatime": 0x80, "dirsync": 0x10000}
ANY = 2**32 - 1  # the id of an ACL's entry that needs none
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, effective
NAMES = [
    b"caf\xc3\xa9", b"latin-\xe9", b"\xff\xfe", b"new\nline", b"\x01\x1b[31m\x7f", b"\t", b" blank ", b" ", b"-rf", b"--", b"~",
    b"per%20cent", b"back\\slash", b"quote'\"", b"*", b"...", b".hidden", b"n" * 255, b"\xe9" * 255, b"tree", b"manifest", b"0",
    b"lost+found", b".cm_persist-tree", b"data-initial", b"record.json", b"unfinished", b"lock", b"lease",
]  # fmt: skip


class Thing(NamedTuple):
    """One entry: what is special about it, how it is made at a path (bytes), and what is set when all is in place.

    The flags are for what stands at flagged, which is added to the path.
    """

    what: str
    make: Callable
    mtime_ns: Optional[int] = None
    flags: int = 0
    flagged: bytes = b""

    @property
    def name(self):
        """bytes: where it stands, below the top."""
        return b"things/" + self.what.encode()


def write(path, *parts):
    """Write a file."""
    with open(path, "wb") as file:
        for part in parts:
            if isinstance(part, int):
                file.truncate(file.seek(part, os.SEEK_CUR))
            else:
                file.write(part)


def acl(*entries):
    """bytes: the kernel's form of an ACL: a version, then (tag, permissions, id) for each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACCESS = acl((1, 6, ANY), (2, 5, 70001), (4, 4, ANY), (8, 7, 70002), (16, 5, ANY), (32, 0, ANY))
DEFAULT = acl((1, 7, ANY), (2, 5, 70001), (4, 5, ANY), (16, 5, ANY), (32, 4, ANY))


def _file(*parts, **wanted):
    return lambda path: (write(path, *(parts or (b"some data",))), _give(path, **wanted))


def _directory(**wanted):
    return lambda path: (os.mkdir(path), write(path + b"/inside", b"inside"), _give(path, **wanted))


def _link(target, **wanted):
    return lambda path: (os.symlink(target, path), _give(path, **wanted))


def _node(kind, device=0, **wanted):
    return lambda path: (os.mknod(path, kind | 0o640, device), _give(path, **wanted))


def _give(path, owner=None, attributes=None, mode=None):
    """Give an entry what belongs to it; an attribute that is not the same when it is read again counts as refused."""
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)
    for name, value in (attributes or {}).items():
        os.setxattr(path, name, value, follow_symlinks=False)
    if mode is not None:
        os.chmod(path, mode)
    for name, value in (attributes or {}).items():
        if name != "system.posix_acl_access" and os.getxattr(path, name, follow_symlinks=False) != value:
            raise OSError(0, "attribute {} is another when it is read again".format(name))


def _names_of_one(make):
    """Make something with four names: side by side, three levels down, beside its directory, and in another."""

    def four(path):
        os.makedirs(path + b"/sub/sub/sub")
        make(path + b"/first")
        name = os.path.basename(path)
        others = [path + b"/second", path + b"/sub/sub/sub/third", path + b" (fourth)", path + b"/../far/away/" + name]
        for other in others:
            os.link(path + b"/first", other, follow_symlinks=False)

    return four


def _reserved(*parts, options=("--length", str(8 * UNIT))):
    """A file with blocks that were reserved and never written: read as zeros, and told as a hole."""
    return lambda path: (write(path, *parts), run("fallocate", *options, os.fsdecode(path)))


def _many(number, size):
    return {"user.%02d" % index: b"v" * size for index in range(number)}


SIZES = (0, 1, 511, 4095, 4096, 4097, 3 << 20, (3 << 20) + 1)
CONTENTS = [
    *(Thing("%d bytes" % size, _file(random.Random(size).randbytes(size))) for size in SIZES),
    Thing("zeros that were written", _file(bytes(UNIT))),
    Thing("a hole first", _file(UNIT, DATA)),
    Thing("a hole in the middle", _file(DATA, UNIT, DATA)),
    Thing("a hole last", _file(DATA, UNIT)),
    Thing("a hole first and last", _file(2 * UNIT, DATA, 3 * UNIT)),
    Thing("nothing but a hole", _file(16 * UNIT)),
    Thing("many holes", _file(*[DATA, UNIT] * 40)),
    Thing("a hole and one byte", _file(UNIT, b"x")),
    Thing("a hole of a terabyte", _file(DATA, (1 << 40) - 3 * UNIT, DATA, UNIT)),
    Thing("a hole and a block of attributes", _file(4096, DATA[:4096], attributes={"user.large": b"v" * 2000})),
    Thing("a hole and room behind the end", _reserved(UNIT, DATA, options=("--keep-size", "--offset", "131072", "-l", "131072"))),
    Thing("reserved and never written", _reserved(DATA)),
    Thing("empty with room reserved", _reserved(options=("--keep-size", "--length", "65536"))),
]
MODES = [
    *(Thing("a file of mode %04o" % mode, _file(mode=mode)) for mode in (0, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777)),
    *(Thing("a directory of mode %04o" % mode, _directory(mode=mode)) for mode in (0, 0o1777, 0o2775, 0o4755, 0o7000)),
    *(Thing("set-uid of %d:%d" % owner, _file(owner=owner, mode=0o6755)) for owner in ((70001, 70002), (2**31, 2**32 - 2))),
    Thing("a directory of others", _directory(owner=(70001, 2**31), mode=0o2750)),
    Thing("an empty directory", os.mkdir),
]
ATTRIBUTES = [
    Thing("user attributes", _file(attributes={"user.empty": b"", "user.bytes": b"\0\xff\n", "user.latin-\udce9": b"name"})),
    Thing("sixty attributes", _file(attributes=_many(60, 16))),
    Thing("more attributes than a block", _file(attributes=_many(60, 1000))),
    Thing("attributes of root", _file(attributes={"trusted.note": b"kept", "security.note": b"kept"})),
    Thing("attributes of a directory", _directory(attributes={"user.note": b"kept", "trusted.note": b""})),
    Thing("attributes of a link", _link("x", attributes={"trusted.note": b"kept", "security.note": b"kept"})),
    Thing("attributes of a FIFO", _node(stat.S_IFIFO, attributes={"trusted.note": b"kept"})),
    Thing("attributes of a device", _node(stat.S_IFCHR, os.makedev(1, 3), attributes={"trusted.note": b"kept"})),
    Thing("an access list", _file(attributes={"system.posix_acl_access": ACCESS})),
    Thing("an access list of a FIFO", _node(stat.S_IFIFO, attributes={"system.posix_acl_access": ACCESS})),
    Thing("a default access list", _directory(attributes={"system.posix_acl_default": DEFAULT})),
    Thing("both access lists", _directory(
        attributes={"system.posix_acl_access": ACCESS, "system.posix_acl_default": DEFAULT}, mode=0o2770
    )),
    Thing("a capability", _file(owner=(70001, 70001), attributes={"security.capability": CAPABILITY}, mode=0o755)),
    Thing("a capability and set-uid", _file(owner=(1, 1), attributes={"security.capability": CAPABILITY}, mode=0o6755)),
    Thing("a file of mode 0000 with attributes", _file(attributes={"user.note": b"kept"}, mode=0)),
]  # fmt: skip
NODES = [
    Thing("a FIFO", _node(stat.S_IFIFO, owner=(70001, 70002), mode=0o1622)),
    Thing("a character device", _node(stat.S_IFCHR, os.makedev(1, 3), owner=(0, 5), mode=0o666)),
    Thing("a block device", _node(stat.S_IFBLK, os.makedev(7, 250))),
    Thing("a device with large numbers", _node(stat.S_IFCHR, os.makedev(4095, (1 << 18) - 1))),
    Thing("a device with the largest numbers", _node(stat.S_IFCHR, os.makedev(4095, (1 << 20) - 1))),
    Thing("a device 0, 0", _node(stat.S_IFCHR, 0)),  # overlayfs takes it for something that was deleted
    Thing("a socket", _node(stat.S_IFSOCK)),
    Thing("a directory with a socket", lambda path: (os.mkdir(path), os.mknod(path + b"/socket", stat.S_IFSOCK | 0o777))),
    Thing("an absolute link", _link("/etc/passwd", owner=(70001, 2**32 - 2))),
    Thing("a link to outside", _link("../../../outside")),
    Thing("a dangling link", _link(b"no\nwhere\xff")),
    Thing("a link to itself", _link("a link to itself")),
    Thing("a link to above", _link("../..")),
    Thing("a link of 1000 bytes", _link("x/" * 500)),
    Thing("a link of 4095 bytes", _link("y" * 4095)),
]
LINKED = [
    Thing("a file of many names", _names_of_one(_file(attributes={"user.note": b"kept"}, owner=(70001, 1), mode=0o4755))),
    Thing("a link of many names", _names_of_one(_link("nowhere", owner=(70001, 1)))),
    Thing("a FIFO of many names", _names_of_one(_node(stat.S_IFIFO, mode=0o606))),
    Thing("a device of many names", _names_of_one(_node(stat.S_IFBLK, os.makedev(7, 251)))),
    Thing("a file with a hole of many names", _names_of_one(_file(UNIT, DATA))),
    Thing("an empty file of many names", _names_of_one(_file(b""))),
    Thing("a file with flags of many names", _names_of_one(_file()), flags=FLAGS["immutable"], flagged=b"/first"),
]
TIMES = [
    Thing("%s of %s" % (kind, when), make, mtime_ns=seconds * 10**9 + 999_999_999)
    for kind, make in (("a file", _file()), ("a directory", _directory()), ("a link", _link("x")), ("a FIFO", os.mkfifo))
    for when, seconds in {
        "the last moment before 1970": -1, "1969": -20_000_000, "1902": -SOON + 1, "1850": -(10**9) * 4, "1970": 0,
        "2038": SOON, "2106": 2 * SOON, "2500": 17 * 10**9,
    }.items()
]  # fmt: skip
FLAGGED = [
    *(Thing("a file with flag " + name, _file(), flags=flag) for name, flag in FLAGS.items() if name != "dirsync"),
    *(Thing("a directory with flag " + name, _directory(), flags=flag) for name, flag in FLAGS.items()),
    Thing("a file with two flags", _file(owner=(70001, 1), mode=0o4755), flags=FLAGS["immutable"] | FLAGS["nodump"]),
    Thing("a file with flags and attributes", _file(attributes={"user.note": b"kept"}), flags=FLAGS["append-only"]),
    Thing("a file of mode 0000 with a flag", _file(mode=0), flags=FLAGS["immutable"]),
]
SOCKETS = ("things/a socket", "things/a directory with a socket/socket")
UNSTEADY = {b"things/reserved and never written"}  # its blocks are told as data once somebody has read them
THINGS = [*CONTENTS, *MODES, *ATTRIBUTES, *NODES, *LINKED, *TIMES, *FLAGGED]
