# SPDX-License-Identifier: Apache-2.0
"""The oracle sees every property that a copy may lose: of two equal trees one gets another, and that alone is told."""

import os
import shutil
import stat
import struct

import pytest

from tests.tree import assert_same, differences, footprint, read_tree

from .specimen import change_flags
from .things import ACCESS, CAPABILITY, DATA, DEFAULT, FLAGS, UNIT, acl, write

ALL = 2**32 - 1
OTHER_ACCESS = acl((1, 6, ALL), (2, 4, 70001), (4, 4, ALL), (8, 7, 70002), (16, 5, ALL), (32, 0, ALL))
OTHER_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 11, 0, 0, 0)
MOMENT = 1_600_000_000_123_456_789
LATER = 2_100_000_000_000_000_003


def fill(top):
    """Fill a directory with one entry for each property."""
    os.mkdir(top)
    for name in ("file", "twin", "listed", "capable", "special", "flagged"):
        write(os.path.join(top, name), b"content of " + name.encode())
    os.mkdir(os.path.join(top, "directory"))
    os.mkdir(os.path.join(top, "sub"))
    write(os.path.join(top, "holes"), DATA, UNIT, DATA, 2 * UNIT)
    os.symlink("target", os.path.join(top, "link"))
    os.link(os.path.join(top, "twin"), os.path.join(top, "sub/twin"))
    os.mkfifo(os.path.join(top, "fifo"), 0o600)
    os.mknod(os.path.join(top, "character"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(os.path.join(top, "block"), stat.S_IFBLK | 0o600, os.makedev(7, 250))
    os.chmod(os.path.join(top, "special"), 0o6755)
    os.setxattr(os.path.join(top, "file"), "user.note", b"kept")
    os.setxattr(os.path.join(top, "link"), "trusted.note", b"kept", follow_symlinks=False)
    os.setxattr(os.path.join(top, "listed"), "system.posix_acl_access", ACCESS)
    os.setxattr(os.path.join(top, "directory"), "system.posix_acl_default", DEFAULT)
    os.setxattr(os.path.join(top, "capable"), "security.capability", CAPABILITY)
    reset_times(top)
    change_flags(os.path.join(top, "flagged"), FLAGS["nodump"])


def reset_times(top):
    """Give all the times that they had, so that a change shows by what it is and not by when it was."""
    for path, directories, files, _fd in os.fwalk(top, topdown=False):
        for name in directories + files:
            os.utime(os.path.join(path, name), ns=(LATER, MOMENT), follow_symlinks=False)
    os.utime(top, ns=(LATER, MOMENT))


@pytest.fixture
def pair(file_system):
    """tuple of str: two equal trees, on a file system that holds everything."""
    top = file_system("ext4", "32M", "-b", "4096")
    one, other = os.path.join(top, "one"), os.path.join(top, "other")
    fill(one)
    fill(other)
    return one, other


def found(one, other):
    """list of str: what the oracle finds."""
    return differences(read_tree(one, atime=True), read_tree(other, atime=True))


def test_equal_trees_are_equal(pair):
    assert found(*pair) == [] and found(*pair) == [], "reading does not change what is read"
    assert_same(*pair)


def moved(path):
    os.rename(path, path + "2")


def removed(path):
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def replaced(make):
    """callable: that puts something else in the place of an entry."""
    return lambda path: (removed(path), make(path))


def copied(path):
    """A further name becomes a file of its own, with everything that belonged to it."""
    shutil.copy2(path, path + ".new")
    os.rename(path + ".new", path)


def written(offset, data):
    def write_at(path):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)

    return write_at


def attribute(name, value, **nofollow):
    return lambda path: os.setxattr(path, name, value, **nofollow)


def times(atime, mtime):
    return lambda path: os.utime(path, ns=(atime, mtime), follow_symlinks=False)


def flagged(flags):
    return lambda path: change_flags(path, flags)


def link_to_another(path):
    os.link(os.path.join(os.path.dirname(path), "../file"), path)


def made_node(kind, device):
    return replaced(lambda path: os.mknod(path, kind | 0o600, device))


# What is done to which entry, and the fields that must tell of it: "" is the entry itself.
CHANGES = {
    "mode": ("file", lambda path: os.chmod(path, 0o600), {"mode"}),
    "set-uid": ("special", lambda path: os.chmod(path, 0o2755), {"mode"}),
    "sticky": ("directory", lambda path: os.chmod(path, 0o1755), {"mode"}),
    "mode of a FIFO": ("fifo", lambda path: os.chmod(path, 0o601), {"mode"}),
    "owner": ("file", lambda path: os.chown(path, 1, -1), {"uid"}),
    "group": ("directory", lambda path: os.chown(path, -1, 2**32 - 2), {"gid"}),
    "owner of a link": ("link", lambda path: os.lchown(path, 1, -1), {"uid"}),
    "owner of a device": ("block", lambda path: os.chown(path, 1, -1), {"uid"}),
    **{
        "time of " + name: (name, times(LATER, MOMENT + 1), {"mtime_ns"})
        for name in ("file", "directory", "link", "fifo", "character", ".")
    },
    **{
        "access time of " + name: (name, times(LATER + 1, MOMENT), {"atime_ns"})
        for name in ("file", "directory", "link", "fifo")
    },
    "attribute": ("file", attribute("user.note", b"Kept"), {"attributes"}),
    "attribute emptied": ("file", attribute("user.note", b""), {"attributes"}),
    "attribute gone": ("file", lambda path: os.removexattr(path, "user.note"), {"attributes"}),
    "attribute added": ("directory", attribute("user.note", b""), {"attributes"}),
    "attribute of a link": ("link", attribute("trusted.note", b"", follow_symlinks=False), {"attributes"}),
    "attribute of a FIFO": ("fifo", attribute("trusted.note", b""), {"attributes"}),
    "access list": ("listed", attribute("system.posix_acl_access", OTHER_ACCESS), {"attributes"}),
    "default list": ("directory", lambda path: os.removexattr(path, "system.posix_acl_default"), {"attributes"}),
    "capability": ("capable", attribute("security.capability", OTHER_CAPABILITY), {"attributes"}),
    "capability gone": ("capable", lambda path: os.removexattr(path, "security.capability"), {"attributes"}),
    "hole filled": ("holes", written(UNIT, bytes(UNIT)), {"holes"}),
    "last hole filled": ("holes", written(3 * UNIT, bytes(2 * UNIT)), {"holes"}),
    "hole filled in part": ("holes", written(UNIT + 4096, bytes(4096)), {"holes"}),
    "length": ("holes", lambda path: os.truncate(path, 5 * UNIT + 1), {"size", "holes"}),
    "first byte": ("file", written(0, b"C"), {"content"}),
    "byte behind a hole": ("holes", written(3 * UNIT - 1, b"\2"), {"content"}),
    "byte become zero": ("holes", written(100, b"\0"), {"content"}),
    "data in a hole": ("holes", written(4 * UNIT, b"\1" * 4096), {"content", "holes"}),
    "target": ("link", replaced(lambda path: os.symlink("Target", path)), {"target", "attributes"}),
    "device number": ("character", made_node(stat.S_IFCHR, os.makedev(1, 5)), {"device"}),
    "kind of device": ("block", made_node(stat.S_IFCHR, os.makedev(7, 250)), {"kind"}),
    "kind": ("fifo", made_node(stat.S_IFREG, 0), {"kind", "content"}),
    "hard link copied": ("sub/twin", copied, {"twins"}),
    "another's hard link": ("sub/twin", replaced(link_to_another), {"twins", "content", "attributes"}),
    "flag gone": ("flagged", flagged(0), {"flags"}),
    **{"flag " + name: ("directory", flagged(flag), {"flags"}) for name, flag in FLAGS.items()},
    "name": ("file", moved, {""}),
    "name of a directory": ("sub", moved, {"", "twins"}),
    "gone": ("fifo", removed, {""}),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_told_and_nothing_else(pair, change):
    name, alter, fields = CHANGES[change]
    one, other = pair
    path = os.path.join(other, name)
    alter(path)
    if not fields & {"mtime_ns", "atime_ns", "flags"}:
        reset_times(other)
    told = found(one, other)
    if "flags" in fields:
        change_flags(path, 0)  # or it could not be removed
    assert {_field(text) for text in told} == fields, told


def _field(text):
    return "" if ": only in the " in text else text.split(": ")[1].split(" is ")[0]


def test_without_access_times_they_do_not_count(pair):
    os.utime(os.path.join(pair[1], "file"), ns=(1, MOMENT))
    assert_same(*pair)


@pytest.mark.parametrize(("field", "told"), [("content", True), ("holes", False)])
def test_a_terabyte_of_hole_is_read_at_once(pair, field, told):
    for path in pair:
        write(path + "/large", DATA, (1 << 40) - 3 * UNIT, DATA, UNIT)
        reset_times(path)
    written((1 << 40) - UNIT - 1, b"\3" if told else b"\1")(pair[1] + "/large")
    reset_times(pair[1])
    assert [_field(text) for text in found(*pair)] == ([field] if told else [])


def test_zeros_that_are_data_and_holes_have_the_same_content(pair):
    written(UNIT, bytes(UNIT))(pair[1] + "/holes")
    trees = [read_tree(path) for path in pair]
    assert trees[0][b"holes"].content == trees[1][b"holes"].content and trees[0][b"holes"].holes != trees[1][b"holes"].holes


def test_the_footprint_tells_of_a_file_that_was_replaced_by_its_like(pair):
    before = footprint(*pair)
    assert footprint(*pair) == before
    copied(os.path.join(pair[0], "file"))
    reset_times(pair[0])
    assert footprint(*pair) != before
