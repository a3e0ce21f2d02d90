# SPDX-License-Identifier: Apache-2.0
"""Everything that belongs to a file is in its copy."""

import os
import socket
import stat
import struct

import pytest

from tests.site import run, write
from tests.tree import assert_same, read_tree

NAMES = [b"caf\xc3\xa9", b"latin-\xe9", b"new\nline", b" blank ", b"per%20cent", b"-rf", b"\x01\x1b[31m", b"n" * 255]


def seeded(site):
    site.seed()
    assert_same(site.path(), site.stored())
    return read_tree(site.stored())


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink(b"x", path), os.mkfifo], ids=["directory", "link", "fifo"])
def test_names_of_any_bytes(site, name, make):
    make(os.fsencode(site.path()) + b"/" + name)
    assert name in seeded(site)


def test_a_state_path_of_any_bytes(site):
    name = os.fsdecode(b"latin-\xe9 and\nmore")
    site.fill(name)
    site.start(name)
    assert_same(site.path(name + "-initial"), site.stored(name))
    assert site.seed(name).paths[0]["state"] == "already"


def test_hard_links_stay_one_file(site):
    os.link(site.path("data/one"), site.path("data/sub/also one"))
    os.link(site.path("data/link"), site.path("data/also link"), follow_symlinks=False)
    tree = seeded(site)
    assert tree[b"one"].twins == (b"one", b"sub/also one") and tree[b"link"].twins == (b"also link", b"link")


def test_a_hard_link_to_outside_is_not_followed_there(site):
    os.link(site.path("data/one"), site.path("outside"))
    seeded(site)
    assert os.stat(site.stored("data/one")).st_nlink == 1


def test_holes_stay_holes(site):
    with open(site.path("data/sparse"), "wb") as file:
        for block in (3, 700):
            file.seek(block * 4096)
            file.write(b"data")
        file.truncate(8 << 20)
    assert len(seeded(site)[b"sparse"].holes) == 3
    assert os.stat(site.stored("data/sparse")).st_blocks * 512 < 1 << 20


def test_a_file_that_is_one_hole(site):
    with open(site.path("data/hole"), "wb") as file:
        file.truncate(1 << 20)
    assert seeded(site)[b"hole"].holes == ((0, 1 << 20),)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o600, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711], ids=oct)
@pytest.mark.root
def test_modes_with_their_owners(site, mode):
    os.mkdir(site.path("data/directory"))
    for name in ("one", "directory"):
        os.chown(site.path("data/" + name), 70001, 70002)
        os.chmod(site.path("data/" + name), mode)
    assert seeded(site)[b"one"][1:4] == (mode, 70001, 70002)


@pytest.mark.root
def test_owners_of_links_and_fifos(site):
    os.mkfifo(site.path("data/fifo"))
    for name in ("fifo", "link"):
        os.lchown(site.path("data/" + name), 70001, 70002)
    assert seeded(site)[b"link"].uid == 70001


def test_times_to_the_nanosecond_before_1970_and_of_directories(site):
    for name, when in (("data/sub/two", 1_123_456_789), ("data/sub", -987_654_321), ("data", 1)):
        os.utime(site.path(name), ns=(when + 5, when))
    os.utime(site.path("data/link"), ns=(7, 123), follow_symlinks=False)
    tree = seeded(site)
    assert [tree[name].mtime_ns for name in (b"sub/two", b"sub", b"", b"link")] == [1_123_456_789, -987_654_321, 1, 123]
    assert os.stat(site.stored("data/sub/two")).st_atime_ns == 1_123_456_794


@pytest.mark.root
def test_extended_attributes_of_the_user_and_of_root(site):
    os.setxattr(site.path("data/one"), "user.note", b"\0binary\xff")
    os.setxattr(site.path("data/sub"), "trusted.note", b"kept")
    os.setxattr(site.path("data/link"), "trusted.note", b"of the link", follow_symlinks=False)
    assert ("user.note", b"\0binary\xff") in seeded(site)[b"one"].attributes


def acl(*entries):
    """Return the kernel's form of an ACL: a version, then (tag, permissions, id) for each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL = acl((1, 7, 2**32 - 1), (2, 5, 70001), (4, 4, 2**32 - 1), (16, 5, 2**32 - 1), (32, 0, 2**32 - 1))


@pytest.mark.parametrize("kind", ["access", "default"])
def test_access_control_lists(site, kind):
    try:
        os.setxattr(site.path("data/sub"), "system.posix_acl_" + kind, ACL)
    except OSError as error:
        pytest.skip("no ACL on this file system: {}".format(error))
    assert "system.posix_acl_" + kind in dict(seeded(site)[b"sub"].attributes)


def test_an_access_control_list_that_the_volume_hands_down_is_not_taken(site):
    try:
        os.setxattr(site.store, "system.posix_acl_default", ACL)
    except OSError as error:
        pytest.skip("no ACL on this file system: {}".format(error))
    assert all(not entry.attributes for entry in seeded(site).values())


@pytest.mark.root
def test_capabilities_survive_the_change_of_owner(site):
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, effective
    os.chown(site.path("data/one"), 70001, 70001)
    os.setxattr(site.path("data/one"), "security.capability", capability)
    assert dict(seeded(site)[b"one"].attributes)["security.capability"] == capability


@pytest.mark.root
def test_device_nodes(site):
    os.mknod(site.path("data/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(site.path("data/disk"), stat.S_IFBLK | 0o660, os.makedev(7, 250))
    assert seeded(site)[b"null"].device == os.makedev(1, 3)


@pytest.mark.root
@pytest.mark.parametrize(("flag", "number"), [("i", 0x10), ("a", 0x20), ("d", 0x40), ("A", 0x80)])
@pytest.mark.parametrize("name", ["data/sub/two", "data/sub"])
def test_flags_of_files_and_directories(site, flag, number, name):
    run("chattr", "+" + flag, site.path(name))
    assert seeded(site)[name[len("data/") :].encode()].flags == number


@pytest.mark.root
def test_flags_of_the_top(site):
    run("chattr", "+dA", site.path())
    assert seeded(site)[b""].flags == 0xC0


@pytest.mark.root
def test_flags_of_a_file_with_several_names(site):
    os.link(site.path("data/one"), site.path("data/sub/also one"))
    run("chattr", "+i", site.path("data/one"))
    run("chattr", "+i", site.path("data/sub"))
    assert seeded(site)[b"sub/also one"].flags == 0x10


def test_paths_longer_than_the_kernel_takes(site):
    depth = 60
    fd = os.open(site.path(), os.O_RDONLY)
    for _level in range(depth):
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    for name in ("deepest", "second"):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd))
    os.link("deepest", "twin", src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)
    tree = seeded(site)
    assert len(max(tree, key=len)) > 12000


def test_more_levels_than_may_be_open(site):
    os.makedirs(site.path("data/" + "/".join("d" * 200)))
    site.seed()
    assert_same(site.path(), site.stored())


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, (1 << 20) + 1, 3 << 20])
def test_data_of_any_size(site, size):
    with open(site.path("data/bytes"), "wb") as file:
        file.write(os.urandom(size))
    assert seeded(site)[b"bytes"].size == size


def test_sockets_are_left_out_with_a_warning(site):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(site.path("data/socket"))
    outcome = site.seed()
    listener.close()
    assert_same(site.path(), site.stored())
    assert not os.path.lexists(site.stored("data/socket")) and site.path("data/socket") in outcome.warnings[0]
    assert outcome.paths[0]["files"] == 3, "a socket that is not copied counts as no file"


def test_a_link_in_the_original_is_copied_and_not_followed(site, top):
    write(os.path.join(top, "outside"), "not state")
    os.symlink(os.path.join(top, "outside"), site.path("data/absolute"))
    os.symlink("nowhere", site.path("data/dangling"))
    assert seeded(site)[b"dangling"].target == b"nowhere"
