# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.host.mounts import Mount, mount_holding, mounts_at_or_below, read_mounts

TABLE = rb"""22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/l,upperdir=/u
23 22 8:1 /sub /store rw,noatime shared:2 master:3 propagate_from:4 - ext4 /dev/sda1 rw
24 22 0:21 / /with\040blank\011tab\134back\012line rw - tmpfs tmpfs rw,size=4k
25 22 0:22 /kubelet/pods/1/volumes/kubernetes.io~empty-dir/cfy /empty ro,relatime - xfs /dev/vdb rw
26 22 0:23 / /no-source rw - tmpfs  rw
27 22 0:24 / /ro-fs rw - ext4 /dev/loop0 ro
28 23 0:25 / /store rw - xfs /dev/vdc rw
29 22 0:26 / /latin-%s rw - xfs /dev/vdd rw
""".replace(b"%s", b"\xe9")


@pytest.fixture
def mounts(tmp_path):
    (tmp_path / "mountinfo").write_bytes(TABLE)
    return read_mounts(str(tmp_path / "mountinfo"))


def at(mounts, point):
    return next(mount for mount in mounts if mount.mount_point == point)


def test_optional_fields_may_be_any_number(mounts):
    assert [mount.mount_id for mount in mounts] == list(range(22, 30))
    assert [mount.fs_type for mount in mounts[:3]] == ["overlay", "ext4", "tmpfs"]
    assert (mounts[1].root, mounts[1].source) == ("/sub", "/dev/sda1")


def test_octal_escapes(mounts):
    assert mounts[2].mount_point == "/with blank\ttab\\back\nline"


def test_a_source_may_be_empty(mounts):
    assert (at(mounts, "/no-source").source, at(mounts, "/no-source").fs_type) == ("", "tmpfs")


def test_a_name_may_hold_any_bytes(mounts):
    assert os.fsencode(mounts[-1].mount_point) == b"/latin-\xe9"


@pytest.mark.parametrize(("point", "expected"), [("/store", False), ("/empty", True), ("/ro-fs", True)])
def test_read_only_by_the_mount_or_by_its_file_system(mounts, point, expected):
    assert ("ro" in at(mounts, point).options) is expected


@pytest.mark.parametrize(("point", "expected"), [("/empty", "an emptyDir"), ("/no-source", "a tmpfs"), ("/store", ""), ("/", "")])
def test_what_dies_with_the_pod(mounts, point, expected):
    assert at(mounts, point).dies_with_pod == expected


@pytest.mark.parametrize(
    ("fs_type", "options", "overlay", "locks_locally"),
    [
        ("overlay", "rw", True, False), ("fuse.fuse-overlayfs", "rw", True, False), ("ext4", "rw", False, False),
        ("nfs", "rw,vers=3,nolock", False, True), ("nfs4", "rw,local_lock=none", False, False),
        ("nfs", "rw,local_lock=flock", False, True), ("nfs4", "rw,local_lock=all", False, True),
    ],
)  # fmt: skip
def test_what_its_file_system_cannot_do(fs_type, options, overlay, locks_locally):
    mount = Mount(1, "/", "/store", tuple(options.split(",")), fs_type, "server:/")
    assert (mount.is_overlay, mount.locks_locally) == (overlay, locks_locally)


def test_a_path_lies_on_the_mount_whose_number_the_kernel_tells(mounts):
    assert mount_holding("/store", mounts, lambda _path: 23).fs_type == "ext4"


@pytest.mark.parametrize("number", [None, 4711])
def test_without_a_number_the_longest_mount_point_wins(mounts, number):
    assert mount_holding("/nowhere/at/all", mounts, lambda _path: number).mount_point == "/"
    assert mount_holding("/empty/below", mounts, lambda _path: number).mount_point == "/empty"
    assert mount_holding("/emptyish", mounts, lambda _path: number).mount_point == "/"


def test_without_a_number_the_last_of_equal_mounts_wins(mounts):
    assert mount_holding("/store/below", mounts, lambda _path: None).fs_type == "xfs"


def test_no_line_no_mount():
    assert mount_holding("/", [], lambda _path: None) is None


def test_mounts_at_or_below(mounts):
    assert mounts_at_or_below("/store", mounts) == ["/store"]
    assert mounts_at_or_below("/stor", mounts) == []
    assert len(mounts_at_or_below("/", mounts)) == 7


@pytest.mark.parametrize("line", ["nonsense\n", "1 2 3:4 / / rw ext4 /dev/sda rw\n", "x 1 0:1 / / rw - ext4 /dev/sda rw\n"])
def test_a_table_of_another_form_is_an_error_that_names_it(tmp_path, line):
    (tmp_path / "mountinfo").write_text(line)
    with pytest.raises(StoreError) as error:
        read_mounts(str(tmp_path / "mountinfo"))
    assert error.value.path == str(tmp_path / "mountinfo") and "/proc" in error.value.hint


def test_this_machine_s_table_can_be_read():
    mounts = read_mounts()
    assert mount_holding("/proc", mounts).fs_type == "proc"
    assert mount_holding("/", mounts).mount_point == "/"
