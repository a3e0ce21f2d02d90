# SPDX-License-Identifier: Apache-2.0
"""A tree with an entry for everything that a copy may lose: the fixture of the tests of fidelity.

Each property is tried for real where the tree is built. What that file system cannot hold is left out: an empty file stands in
its place, and the specimen says what and why.
"""

import fcntl
import os
import stat
import struct
from typing import NamedTuple

from tests.site import run
from tests.tree import GETFLAGS, USER_FLAGS

from .things import NAMES, THINGS, write

SETFLAGS = GETFLAGS ^ 0xC0000003
BASE = 1_100_000_000_000_000_001  # ns: from here on every entry gets times of its own
BEFORE = 1_000_000_000_000_000_003  # ns: access times that reading would change,
LATER = 2_100_000_000_000_000_003  # ns: and those of links, for which there is no O_NOATIME: what lies ahead is left alone
CROWD, LEVELS = 2000, 200  # files in one directory, directories in one another
ENTRIES = len(THINGS) + 3 * len(NAMES)  # that have something special about them: no part of a crowd, nothing inside another


class Specimen(NamedTuple):
    """What was built: left_out is what is missing in it, to the reason."""

    top: str
    left_out: dict


def build(top, without=(), only=None):
    """Build the tree.

    Args:
        top (str): where; made.
        without (container of str): things that are not to be tried, each by what is special about it.
        only (str): the one thing that is to be made; by default all are, and the crowds.

    Returns:
        Specimen: what was built.
    """
    above = os.fsencode(top)
    made, left_out = _make_things(above, without, only)
    if only is None:
        _names(above + b"/names")
        _crowds(above)
    _set_times(top)
    for thing in made:
        if thing.mtime_ns is not None:
            _utime(os.path.join(above, thing.name), thing.mtime_ns)
    for thing in made:
        if thing.flags:
            change_flags(os.path.join(above, thing.name) + thing.flagged, thing.flags)
    return Specimen(top, left_out)


def refused(top):
    """dict: what a file system cannot hold, to the reason: all is tried in a directory that is made there and removed."""
    _made, left_out = _make_things(os.fsencode(top), (), None)
    run("rm", "-rf", top)
    return left_out


def change_flags(path, flags):
    """Set exactly these of the flags that a person sets; OSError where they do not all stay."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        others = _read_flags(fd) & ~USER_FLAGS
        fcntl.ioctl(fd, SETFLAGS, struct.pack("i", others | flags))
        if _read_flags(fd) & USER_FLAGS != flags:
            raise OSError(0, "not all the flags stay")
    finally:
        os.close(fd)


def _make_things(above, without, only):
    os.makedirs(above + b"/things/far/away")
    made, left_out = [], {}
    for thing in (thing for thing in THINGS if only in (None, thing.what)):
        path = os.path.join(above, thing.name)
        try:
            if thing.what in without:
                raise OSError(0, "not wanted")
            thing.make(path)
            _try_times_and_flags(thing, path)
            made.append(thing)
        except OSError as error:
            left_out[thing.what] = error.strerror
            run("rm", "-rf", os.fsdecode(path))
            write(path)  # a stand-in
    return made, left_out


def _read_flags(fd):
    return struct.unpack("i", fcntl.ioctl(fd, GETFLAGS, struct.pack("i", 0)))[0]


def _utime(path, mtime_ns):
    os.utime(path, ns=(max(LATER, mtime_ns + 1), mtime_ns), follow_symlinks=False)


def _try_times_and_flags(thing, path):
    if thing.mtime_ns is not None:
        _utime(path, thing.mtime_ns)
        if os.lstat(path).st_mtime_ns != thing.mtime_ns:
            raise OSError(0, "the time is another when it is read again")
    if thing.flags:
        change_flags(path + thing.flagged, thing.flags)
        change_flags(path + thing.flagged, 0)


def _set_times(top):
    # Distinct to the nanosecond, so that a time that got to the wrong entry shows; a directory after what is in it.
    number = 0
    for _path, directories, files, fd in os.fwalk(top, topdown=False):
        for name in sorted(directories + files):
            number += 1
            is_link = stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            ns = (LATER if is_link else BEFORE) + number * 1_000_000_007, BASE + number * 1_000_000_009
            os.utime(name, ns=ns, dir_fd=fd, follow_symlinks=False)
    os.utime(top, ns=(BEFORE, BASE))


def _names(above):
    os.mkdir(above)
    for name in NAMES:
        write(above + b"/" + name, name)
        os.mkdir(above + b"/in " + name[:250])
        os.symlink(name, above + b"/in " + name[:250] + b"/" + name)
    for ours in (b".cm_persist", b"links", b"staging"):
        os.makedirs(above + b"/" + ours + b"/manifests")
        write(above + b"/" + ours + b"/record.json", b"{}")


def _crowds(above):
    os.mkdir(above + b"/crowd")
    for number in range(CROWD):
        write(above + b"/crowd/%d" % number, b"%d" % number)
    os.makedirs(above + b"/" + b"/".join([b"nest"] * LEVELS))
    _long_path(above)


def _long_path(above):
    """A path of more than 6,000 bytes, at its end a file of three names, one of them near the top."""
    os.mkdir(above + b"/long")
    fd = os.open(above + b"/long", os.O_RDONLY)
    for _level in range(25):
        os.mkdir(b"l" * 250, dir_fd=fd)
        below = os.open(b"l" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open(b"end", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd))
    os.link(b"end", b"twin", src_dir_fd=fd, dst_dir_fd=fd)
    os.link(b"end", above + b"/things/far/twin of the end", src_dir_fd=fd)
    os.symlink(b"end", b"link", dir_fd=fd)
    os.mkfifo(b"fifo", dir_fd=fd)
    os.close(fd)
